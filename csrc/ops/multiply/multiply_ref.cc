#include "ops/multiply/multiply.h"

#include "fixed/fixed.h"

namespace pyqrt {

void multiply_reference(const MultiplyArgs& args, Range rows) {
  for (int64_t i = rows.begin; i < rows.end; ++i) {
    const int16_t* a = args.a + i * args.a_stride;
    const int16_t* b = args.b + i * args.b_stride;
    for (int64_t c = 0; c < args.width; ++c) {
      const int32_t r = fixed::requantize(a[c] * b[c], args.multiplier[c], args.shift[c]);
      if (args.output8 != nullptr) {
        args.output8[i * args.output_stride + c] =
            static_cast<int8_t>(fixed::sat8(r + args.zero_point));
      } else {
        args.output16[i * args.output_stride + c] = static_cast<int16_t>(fixed::sat16(r));
      }
    }
  }
}

}  // namespace pyqrt
