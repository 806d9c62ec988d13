#include <limits>

#include "fixed/fixed_avx512.h"
#include "ops/softmax/softmax.h"

namespace pyqrt {
namespace {

using avx512::exp2_neg;

constexpr int64_t kBlock = 64;  // scores of one step: a whole vector of each plane

// What a row's exponents need: its maximum, and the multiplier with its limit.
struct Row {
  __m512i maximum;
  __m512i limit;
  __m512i multiplier;
};

// The first `count` of 64 scores, as four vectors; lanes beyond `count` take `filler`'s.
struct Scores {
  __m512i lane[4];
};
inline Scores load(const int32_t* score, int64_t count, __m512i filler) {
  Scores s;
  const uint64_t keep = count >= kBlock ? ~uint64_t{0} : (uint64_t{1} << count) - 1;
  for (int i = 0; i < 4; ++i) {
    s.lane[i] =
        _mm512_mask_loadu_epi32(filler, static_cast<__mmask16>(keep >> (16 * i)), score + 16 * i);
  }
  return s;
}

inline __m512i maximum_of(const Scores& s, __m512i so_far) {
  const __m512i left = _mm512_max_epi32(s.lane[0], s.lane[1]);
  const __m512i right = _mm512_max_epi32(s.lane[2], s.lane[3]);
  return _mm512_max_epi32(so_far, _mm512_max_epi32(left, right));
}

// 2 x 16 scores -> 32 probabilities in order. The exponent is the high half of each product.
inline __m512i probability(__m512i first, __m512i second, const Row& row) {
  const auto product = [&row](__m512i score) {
    const __m512i below = _mm512_min_epu32(_mm512_sub_epi32(row.maximum, score), row.limit);
    return _mm512_mullo_epi32(below, row.multiplier);
  };
  const __m512i high_halves =
      _mm512_set_epi16(63, 61, 59, 57, 55, 53, 51, 49, 47, 45, 43, 41, 39, 37, 35, 33, 31, 29, 27,
                       25, 23, 21, 19, 17, 15, 13, 11, 9, 7, 5, 3, 1);
  return exp2_neg(_mm512_permutex2var_epi16(product(first), high_halves, product(second)));
}

// 2 x 32 numbers below 256 -> 64 bytes in order.
inline __m512i bytes(__m512i first, __m512i second) {
  const __m512i order = _mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7);
  return _mm512_maskz_permutexvar_epi64(0xff, order, _mm512_packus_epi16(first, second));
}

struct Planes {
  __m512i high;
  __m512i low;
};
inline Planes planes(const Scores& s, const Row& row) {
  const __m512i first = probability(s.lane[0], s.lane[1], row);
  const __m512i second = probability(s.lane[2], s.lane[3], row);
  const __m512i seven_bits = _mm512_set1_epi16(127);
  return {bytes(_mm512_srli_epi16(first, 7), _mm512_srli_epi16(second, 7)),
          bytes(_mm512_and_si512(first, seven_bits), _mm512_and_si512(second, seven_bits))};
}

// First pass: the maximum of a row, in every lane.
__m512i row_maximum(const int32_t* score, int64_t n) {
  __m512i maximum = _mm512_set1_epi32(std::numeric_limits<int32_t>::min());
  int64_t j = 0;
  for (; j + kBlock <= n; j += kBlock) {
    maximum = maximum_of(load(score + j, kBlock, maximum), maximum);
  }
  if (j < n) maximum = maximum_of(load(score + j, n - j, maximum), maximum);
  return _mm512_set1_epi32(_mm512_reduce_max_epi32(maximum));
}

// Second pass: the planes of a row; returns their sum.
int32_t write_planes(const int32_t* score, int64_t n, const Row& row, uint8_t* high, uint8_t* low) {
  const __m512i one = _mm512_set1_epi8(1);
  __m512i high_sum = _mm512_setzero_si512();
  __m512i low_sum = high_sum;
  const auto add = [&](const Planes& p) {
    high_sum = _mm512_dpbusd_epi32(high_sum, p.high, one);
    low_sum = _mm512_dpbusd_epi32(low_sum, p.low, one);
  };
  int64_t j = 0;
  for (; j + kBlock <= n; j += kBlock) {
    const Planes p = planes(load(score + j, kBlock, row.maximum), row);
    add(p);
    _mm512_storeu_si512(high + j, p.high);
    _mm512_storeu_si512(low + j, p.low);
  }
  int32_t surplus = 0;
  if (j < n) {
    const int64_t rest = n - j;
    // Absent scores stand at the maximum: what they add to the sum is known.
    const Planes p = planes(load(score + j, rest, row.maximum), row);
    add(p);
    const __mmask64 keep = (uint64_t{1} << rest) - 1;
    _mm512_mask_storeu_epi8(high + j, keep, p.high);
    _mm512_mask_storeu_epi8(low + j, keep, p.low);
    surplus = static_cast<int32_t>(kBlock - rest) * fixed::exp2_neg(0);
  }
  return _mm512_reduce_add_epi32(_mm512_add_epi32(_mm512_slli_epi32(high_sum, 7), low_sum)) -
         surplus;
}

}  // namespace

void softmax_avx512vnni(const SoftmaxArgs& args, Range rows) {
  if (rows.size() <= 0) return;
  const auto scores = [&args](int64_t row) { return args.score + row * args.score_stride; };
  __m512i next = row_maximum(scores(rows.begin), args.n);
  const __m512i limit = _mm512_set1_epi32(static_cast<int32_t>(softmax_limit(args.multiplier)));
  const __m512i multiplier = _mm512_set1_epi32(static_cast<int32_t>(args.multiplier));
  for (int64_t i = rows.begin; i < rows.end; ++i) {
    const Row row{next, limit, multiplier};
    // The next maximum is on its way while this row's planes are written: it is a long chain.
    if (i + 1 < rows.end) next = row_maximum(scores(i + 1), args.n);
    args.sum[i] = write_planes(scores(i), args.n, row, args.high + i * args.plane_stride,
                               args.low + i * args.plane_stride);
  }
}

}  // namespace pyqrt
