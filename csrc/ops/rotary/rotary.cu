#include "cuda/kernels.h"
#include "cuda/rows.h"

namespace pyqrt::cuda {
namespace {

PYQRT_GLOBAL void rotary_kernel(RowArguments<RotaryArgs> arguments) {
  const RotaryArgs& args = arguments.op;
  for_rows(arguments, [&](int64_t row, int lane) {
    const int64_t entry = args.position[row] * (args.rotated / 2);
    for (int64_t head = 0; head < args.heads; ++head) {
      const int64_t first = head * args.head_dim;
      const int16_t* x = args.input + row * args.input_stride + first;
      int8_t* output = args.output + row * args.output_stride + first;
      for (int64_t c = lane; c < args.head_dim; c += kWarp) {
        output[c] = rotary_value(args, x, args.cosine + entry, args.sine + entry, c);
      }
    }
  });
}

}  // namespace

void launch_rotary(const RotaryArgs& args, int64_t rows, const int32_t* live_rows, Stream& stream) {
  launch_rows(rotary_kernel, args, rows, live_rows, stream);
}

}  // namespace pyqrt::cuda
