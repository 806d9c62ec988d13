// gelu, reference: the contract's formula, one value at a time.
#include "fixed/fixed.h"
#include "ops/gelu/gelu.h"

namespace pyqrt {

void gelu_reference(const GeluArgs& args, Range rows) {
  for (int64_t i = rows.begin; i < rows.end; ++i) {
    const int16_t* input = args.input + i * args.input_stride;
    int8_t* output = args.output + i * args.output_stride;
    for (int64_t j = 0; j < args.n; ++j) {
      const int32_t scaled =
          fixed::rshr(fixed::gelu(input[j], args.polynomial) * args.multiplier[j], args.shift);
      output[j] = static_cast<int8_t>(fixed::sat8(scaled + args.zero_point));
    }
  }
}

}  // namespace pyqrt
