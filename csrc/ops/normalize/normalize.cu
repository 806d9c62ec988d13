#include "cuda/kernels.h"
#include "cuda/rows.h"
#include "ops/normalize/normalize_row.h"

namespace pyqrt::cuda {
namespace {

PYQRT_GLOBAL void normalize_kernel(RowArguments<NormalizeArgs> arguments) {
  const NormalizeArgs& args = arguments.op;
  for_rows(arguments, [&](int64_t row, int lane) {
    const int16_t* input = args.input + row * args.input_stride;
    int32_t* output = args.output + row * args.output_stride;
    int64_t squares = 0;
    for (int64_t c = lane; c < args.width; c += kWarp) squares += int32_t{input[c]} * input[c];
    squares = reduce_sum<kWarp>(squares);
    const NormalizeRow normal = normalize_row(static_cast<uint64_t>(squares));
    for (int64_t c = lane; c < args.width; c += kWarp) {
      output[c] = normalize_value(input[c], normal);
    }
  });
}

}  // namespace

void launch_normalize(const NormalizeArgs& args, int64_t rows, const int32_t* live_rows,
                      Stream& stream) {
  launch_rows(normalize_kernel, args, rows, live_rows, stream);
}

}  // namespace pyqrt::cuda
