// The scalar half of normalize, shared by all variants: what is done once per row.
//
// `static`: translation units compiled for different instruction sets each keep their own copy.
#pragma once

#include "fixed/fixed.h"
#include "ops/normalize/normalize.h"

namespace pyqrt {

inline constexpr int32_t kNormalizeOne = int32_t{1} << 30;

// out = clamp(rshr64(x * inverse, shift))
struct NormalizeRow {
  uint32_t inverse = 0;  // [2^30, 2^31], or 0 for a row of zeros
  int shift = 1;
};

static constexpr NormalizeRow normalize_row(uint64_t sum_of_squares) {
  if (sum_of_squares == 0) return {};
  const int e = (fixed::bit_length(sum_of_squares) + 1) / 2;
  const uint64_t root = fixed::isqrt(sum_of_squares << (2 * (31 - e)));
  return {static_cast<uint32_t>(fixed::divide(uint64_t{1} << 61, static_cast<uint32_t>(root))), e};
}

static constexpr int32_t normalize_value(int16_t x, const NormalizeRow& row) {
  const int64_t value = fixed::rshr64(x * int64_t{row.inverse}, row.shift);
  constexpr int64_t kOne = kNormalizeOne;
  return static_cast<int32_t>(value < -kOne ? -kOne : value > kOne ? kOne : value);
}

}  // namespace pyqrt
