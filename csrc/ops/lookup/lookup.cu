#include "cuda/kernels.h"
#include "cuda/rows.h"

namespace pyqrt::cuda {
namespace {

PYQRT_GLOBAL void lookup_kernel(RowArguments<LookupArgs> arguments) {
  const LookupArgs& args = arguments.op;
  for_rows(arguments, [&](int64_t row, int lane) {
    const int16_t* input = args.input + row * args.input_stride;
    int16_t* output = args.output + row * args.output_stride;
    for (int64_t c = lane; c < args.width; c += kWarp) {
      output[c] = static_cast<int16_t>(lookup_value(args.table, input[c]));
    }
  });
}

}  // namespace

void launch_lookup(const LookupArgs& args, int64_t rows, const int32_t* live_rows, Stream& stream) {
  launch_rows(lookup_kernel, args, rows, live_rows, stream);
}

}  // namespace pyqrt::cuda
