// What the vector variants of pool share: the kinds without arithmetic, and the rounded mean as a
// multiplication.
//
// `static`: translation units compiled for different instruction sets each keep their own copy.
#pragma once

#include <cstring>

#include "ops/pool/pool.h"

namespace pyqrt {

// Copies a row, takes the largest of each column, or writes zeros for an empty
// sequence. False: there is a mean to take.
static inline bool pool_without_mean(const PoolArgs& args, int64_t sequence) {
  const int64_t tokens = args.offsets[sequence + 1] - args.offsets[sequence];
  if (tokens != 0 && args.kind == PoolKind::kMean) return false;
  int16_t* output = args.output + sequence * args.output_stride;
  const std::size_t bytes = static_cast<std::size_t>(args.width) * sizeof(int16_t);
  if (tokens == 0) {
    std::memset(output, 0, bytes);
  } else {
    const int16_t* row = args.input + pool_row(args, sequence) * args.input_stride;
    std::memcpy(output, row, bytes);
    for (int64_t i = 1; i < tokens && args.kind == PoolKind::kMax; ++i) {
      row += args.input_stride;
      for (int64_t c = 0; c < args.width; ++c) output[c] = row[c] > output[c] ? row[c] : output[c];
    }
  }
  return true;
}

// rounded_mean(sum, n) = floor((sum + 2^15 n + floor(n / 2)) / n) - 2^15, where the numerator u is
// below 2^32 and n <= 2^16. With m = ceil(2^48 / n), m n - 2^48 < n, floor(u / n) = (u m) >> 48:
// the excess u (m n - 2^48) / n is below 2^32, too little to reach the next multiple of 2^48 from
// the last u of a quotient, which is 2^48 / n >= 2^32 short of it. u / n < 2^16 keeps u m < 2^64.
class RoundedMean {
 public:
  explicit RoundedMean(int64_t n)
      : start_((uint32_t{1} << 15) * static_cast<uint32_t>(n) + static_cast<uint32_t>(n / 2)),
        reciprocal_(((uint64_t{1} << 48) + static_cast<uint64_t>(n) - 1) /
                    static_cast<uint64_t>(n)) {}

  // What the sums start from, so that they end as u (modulo 2^32).
  uint32_t start() const { return start_; }

  int16_t operator()(uint32_t u) const {
    return static_cast<int16_t>(static_cast<int32_t>((u * reciprocal_) >> 48) - (1 << 15));
  }

 private:
  uint32_t start_;
  uint64_t reciprocal_;
};

}  // namespace pyqrt
