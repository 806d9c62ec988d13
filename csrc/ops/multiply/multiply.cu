#include "cuda/kernels.h"
#include "cuda/rows.h"

namespace pyqrt::cuda {
namespace {

PYQRT_GLOBAL void multiply_kernel(RowArguments<MultiplyArgs> arguments) {
  const MultiplyArgs& args = arguments.op;
  for_rows(arguments, [&](int64_t row, int lane) {
    for (int64_t c = lane; c < args.width; c += kWarp) multiply_element(args, row, c);
  });
}

}  // namespace

void launch_multiply(const MultiplyArgs& args, int64_t rows, const int32_t* live_rows,
                     Stream& stream) {
  launch_rows(multiply_kernel, args, rows, live_rows, stream);
}

}  // namespace pyqrt::cuda
