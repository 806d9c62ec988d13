#include "ops/rotary/rotary.h"

namespace pyqrt {

void rotary_reference(const RotaryArgs& args, Range rows) {
  const int64_t half = args.rotated / 2;
  for (int64_t i = rows.begin; i < rows.end; ++i) {
    const int16_t* cosine = args.cosine + args.position[i] * half;
    const int16_t* sine = args.sine + args.position[i] * half;
    for (int64_t head = 0; head < args.heads; ++head) {
      const int16_t* x = args.input + i * args.input_stride + head * args.head_dim;
      int8_t* out = args.output + i * args.output_stride + head * args.head_dim;
      for (int64_t c = 0; c < args.head_dim; ++c) out[c] = rotary_value(args, x, cosine, sine, c);
    }
  }
}

}  // namespace pyqrt
