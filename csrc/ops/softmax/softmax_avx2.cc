#include <cstring>
#include <limits>

#include "fixed/fixed_avx2.h"
#include "ops/softmax/softmax.h"

namespace pyqrt {
namespace {

constexpr int64_t kBlock = 32;  // scores of one step: a whole vector of each plane

// What a row's exponents need: its maximum, the multiplier with its limit, the polynomial.
struct Row {
  __m256i maximum;
  __m256i limit;
  __m256i multiplier;
  avx2::Exp2Neg exp2_neg;
};

// The first `count` of 32 scores, as four vectors; lanes beyond `count` take `filler`'s.
struct Scores {
  __m256i lane[4];
};
inline Scores load(const int32_t* score, int64_t count, __m256i filler) {
  Scores s;
  for (int i = 0; i < 4; ++i) {
    if (count >= kBlock) {
      s.lane[i] = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(score + 8 * i));
    } else {
      const __m256i left = _mm256_set1_epi32(static_cast<int32_t>(count) - 8 * i);
      const __m256i keep = _mm256_cmpgt_epi32(left, _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
      s.lane[i] = _mm256_blendv_epi8(filler, _mm256_maskload_epi32(score + 8 * i, keep), keep);
    }
  }
  return s;
}
inline void store(uint8_t* to, __m256i value) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), value);
}

inline __m256i maximum_of(const Scores& s, __m256i so_far) {
  const __m256i left = _mm256_max_epi32(s.lane[0], s.lane[1]);
  const __m256i right = _mm256_max_epi32(s.lane[2], s.lane[3]);
  return _mm256_max_epi32(so_far, _mm256_max_epi32(left, right));
}

inline int32_t reduce_max(__m256i v) {
  __m128i half = _mm_max_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
  half = _mm_max_epi32(half, _mm_shuffle_epi32(half, 0x4e));
  half = _mm_max_epi32(half, _mm_shuffle_epi32(half, 0xb1));
  return _mm_cvtsi128_si32(half);
}
inline int32_t reduce_add(__m256i v) {
  __m128i half = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
  half = _mm_add_epi32(half, _mm_shuffle_epi32(half, 0x4e));
  half = _mm_add_epi32(half, _mm_shuffle_epi32(half, 0xb1));
  return _mm_cvtsi128_si32(half);
}

// 2 x 8 scores -> 16 probabilities in the order of packus: 0-3, 8-11 | 4-7, 12-15.
// The exponent is the high half of each product.
inline __m256i probability(__m256i first, __m256i second, const Row& row) {
  const auto exponent = [&row](__m256i score) {
    const __m256i below = _mm256_min_epu32(_mm256_sub_epi32(row.maximum, score), row.limit);
    return _mm256_srli_epi32(_mm256_mullo_epi32(below, row.multiplier), 16);
  };
  return row.exp2_neg(_mm256_packus_epi32(exponent(first), exponent(second)));
}

// Two such vectors of numbers below 256 -> 32 bytes in order.
inline __m256i bytes(__m256i first, __m256i second) {
  const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
  return _mm256_permutevar8x32_epi32(_mm256_packus_epi16(first, second), order);
}

struct Planes {
  __m256i high;
  __m256i low;
  __m256i sum;  // of the probabilities, spread over eight lanes
};
inline Planes planes(const Scores& s, const Row& row) {
  const __m256i first = probability(s.lane[0], s.lane[1], row);
  const __m256i second = probability(s.lane[2], s.lane[3], row);
  const __m256i seven_bits = _mm256_set1_epi16(127);
  return {bytes(_mm256_srli_epi16(first, 7), _mm256_srli_epi16(second, 7)),
          bytes(_mm256_and_si256(first, seven_bits), _mm256_and_si256(second, seven_bits)),
          // Two probabilities add up below 2^15.
          _mm256_madd_epi16(_mm256_add_epi16(first, second), _mm256_set1_epi16(1))};
}

// First pass: the maximum of a row, in every lane.
__m256i row_maximum(const int32_t* score, int64_t n) {
  __m256i maximum = _mm256_set1_epi32(std::numeric_limits<int32_t>::min());
  int64_t j = 0;
  for (; j + kBlock <= n; j += kBlock) {
    maximum = maximum_of(load(score + j, kBlock, maximum), maximum);
  }
  if (j < n) maximum = maximum_of(load(score + j, n - j, maximum), maximum);
  return _mm256_set1_epi32(reduce_max(maximum));
}

// Second pass: the planes of a row; returns their sum.
int32_t write_planes(const SoftmaxArgs& args, int64_t i, const Row& row) {
  const int64_t n = args.n;
  const int32_t* score = args.score + i * args.score_stride;
  uint8_t* high = args.high + i * args.plane_stride;
  uint8_t* low = args.low + i * args.plane_stride;
  __m256i sum = _mm256_setzero_si256();
  int64_t j = 0;
  for (; j + kBlock <= n; j += kBlock) {
    const Planes p = planes(load(score + j, kBlock, row.maximum), row);
    sum = _mm256_add_epi32(sum, p.sum);
    store(high + j, p.high);
    store(low + j, p.low);
  }
  int32_t surplus = 0;
  if (j < n) {
    const int64_t rest = n - j;
    // Absent scores stand at the maximum: what they add to the sum is known.
    const Planes p = planes(load(score + j, rest, row.maximum), row);
    sum = _mm256_add_epi32(sum, p.sum);
    uint8_t last[2][kBlock];
    store(last[0], p.high);
    store(last[1], p.low);
    std::memcpy(high + j, last[0], static_cast<std::size_t>(rest));
    std::memcpy(low + j, last[1], static_cast<std::size_t>(rest));
    surplus = static_cast<int32_t>(kBlock - rest) * fixed::exp2_neg(0, args.exponential);
  }
  return reduce_add(sum) - surplus;
}

}  // namespace

void softmax_avx2(const SoftmaxArgs& args, Range rows) {
  if (rows.size() <= 0) return;
  const auto scores = [&args](int64_t row) { return args.score + row * args.score_stride; };
  __m256i next = row_maximum(scores(rows.begin), args.n);
  const __m256i limit = _mm256_set1_epi32(static_cast<int32_t>(softmax_limit(args.multiplier)));
  const __m256i multiplier = _mm256_set1_epi32(static_cast<int32_t>(args.multiplier));
  const avx2::Exp2Neg exp2_neg(args.exponential);
  for (int64_t i = rows.begin; i < rows.end; ++i) {
    const Row row{next, limit, multiplier, exp2_neg};
    // The next maximum is on its way while this row's planes are written: it is a long chain.
    if (i + 1 < rows.end) next = row_maximum(scores(i + 1), args.n);
    args.sum[i] = write_planes(args, i, row);
  }
}

}  // namespace pyqrt
