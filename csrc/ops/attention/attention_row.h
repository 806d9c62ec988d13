// attention, the end of a row: from the exact sum A of probabilities times values to the output.
//
// Everything is `static`: translation units compiled for different instruction sets each keep
// their own copy.
#pragma once

#include "fixed/fixed.h"
#include "ops/attention/attention.h"

namespace pyqrt {

// out = sat8(rshr64(A * factor, shift) + zero_point), for an A without its low `drop` bits.
struct RowScale {
  int32_t factor;
  int shift;
  int drop;
};

// `sum` is the row's sum of probabilities.
static constexpr RowScale row_scale(int32_t sum, int32_t multiplier, int32_t exponent) {
  const auto length = static_cast<uint32_t>(sum);
  const int b = fixed::bit_length(length);
  const int drop = b > 24 ? b - 24 : 0;
  const uint32_t mantissa = b >= 16 ? length >> (b - 16) : length << (16 - b);
  const auto reciprocal = static_cast<int32_t>(fixed::divide(0xffffffffu, mantissa));
  return {reciprocal * multiplier, b + 30 - exponent - drop, drop};
}

static constexpr int32_t attention_output(int64_t mixed, const RowScale& scale,
                                          int32_t zero_point) {
  // |A / L| <= 127 leaves 23 bits of the product.
  const int64_t scaled = fixed::rshr64((mixed >> scale.drop) * scale.factor, scale.shift);
  return fixed::sat8(static_cast<int32_t>(scaled) + zero_point);
}

}  // namespace pyqrt
