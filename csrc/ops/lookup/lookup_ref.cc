#include "ops/lookup/lookup.h"

namespace pyqrt {

void lookup_reference(const LookupArgs& args, Range rows) {
  for (int64_t i = rows.begin; i < rows.end; ++i) {
    const int16_t* input = args.input + i * args.input_stride;
    int16_t* output = args.output + i * args.output_stride;
    for (int64_t j = 0; j < args.width; ++j) {
      const int32_t u = input[j] + 32768;
      const int16_t* knot = args.table + (u >> 7);
      const int32_t f = u & 127;
      output[j] = static_cast<int16_t>((knot[0] * (128 - f) + knot[1] * f + 64) >> 7);
    }
  }
}

}  // namespace pyqrt
