#include "ops/rotary/rotary.h"

#include "fixed/fixed.h"

namespace pyqrt {

void rotary_reference(const RotaryArgs& args, Range rows) {
  const int64_t half = args.rotated / 2;
  const auto narrow = [&](int32_t value) {
    return static_cast<int8_t>(fixed::sat8(fixed::rshr(value, args.shift)));
  };
  for (int64_t i = rows.begin; i < rows.end; ++i) {
    const int16_t* cosine = args.cosine + args.position[i] * half;
    const int16_t* sine = args.sine + args.position[i] * half;
    for (int64_t head = 0; head < args.heads; ++head) {
      const int16_t* x = args.input + i * args.input_stride + head * args.head_dim;
      int8_t* out = args.output + i * args.output_stride + head * args.head_dim;
      for (int64_t c = 0; c < half; ++c) {
        out[c] = narrow(x[c] * cosine[c] - x[c + half] * sine[c]);
        out[c + half] = narrow(x[c + half] * cosine[c] + x[c] * sine[c]);
      }
      for (int64_t c = args.rotated; c < args.head_dim; ++c) out[c] = narrow(x[c] * kRotaryOne);
    }
  }
}

}  // namespace pyqrt
