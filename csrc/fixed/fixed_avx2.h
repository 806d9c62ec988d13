// fixed.h for 256-bit vectors: the same functions under the same names, equal bit for bit.
// Only for translation units compiled with AVX2.
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "fixed/fixed.h"

namespace pyqrt::avx2 {

// int32 lanes.
inline __m256i clamp(__m256i value, int32_t low, int32_t high) {
  return _mm256_min_epi32(_mm256_max_epi32(value, _mm256_set1_epi32(low)), _mm256_set1_epi32(high));
}
inline __m256i sat8(__m256i value) {
  return clamp(value, -fixed::kMaxS8, fixed::kMaxS8);
}
inline __m256i sat16(__m256i value) {
  return clamp(value, -fixed::kMaxS16, fixed::kMaxS16);
}

// int32 lanes, one shift for all of them.
inline __m256i rshr(__m256i value, int shift) {
  if (shift <= 0) return _mm256_sll_epi32(value, _mm_cvtsi32_si128(-shift));
  const __m256i half = _mm256_set1_epi32(int32_t{1} << (shift - 1));
  return _mm256_sra_epi32(_mm256_add_epi32(value, half), _mm_cvtsi32_si128(shift));
}

// What requantize derives from 8 multipliers and shifts: worth keeping where they meet many rows.
struct Scale {
  __m256i multiplier;      // even lanes count
  __m256i multiplier_odd;  // the odd lanes, moved to the even ones
  __m256i left;            // max(0, 33 - shift): keeps the rounding constant above bit 32
  __m256i right;           // shift + left - 32
  __m256i half;            // 2^(right - 1)
};
inline Scale make_scale(__m256i multiplier, __m256i shift) {
  const __m256i least = _mm256_set1_epi32(33);
  const __m256i raised = _mm256_max_epi32(shift, least);
  const __m256i one = _mm256_set1_epi32(1);
  return {multiplier, _mm256_srli_epi64(multiplier, 32), _mm256_sub_epi32(raised, shift),
          _mm256_sub_epi32(raised, _mm256_set1_epi32(32)),
          _mm256_sllv_epi32(one, _mm256_sub_epi32(raised, least))};
}

// int32 lanes, a multiplier and a shift in each.
inline __m256i requantize(__m256i acc, const Scale& scale) {
  acc = _mm256_sllv_epi32(acc, scale.left);
  const __m256i even = _mm256_mul_epi32(acc, scale.multiplier);
  const __m256i odd = _mm256_mul_epi32(_mm256_srli_epi64(acc, 32), scale.multiplier_odd);
  const __m256i high = _mm256_blend_epi32(_mm256_srli_epi64(even, 32), odd, 0xAA);
  return _mm256_srav_epi32(_mm256_add_epi32(high, scale.half), scale.right);
}
inline __m256i requantize(__m256i acc, __m256i multiplier, __m256i shift) {
  return requantize(acc, make_scale(multiplier, shift));
}

// int16 lanes.
inline __m256i mulr(__m256i a, __m256i b) {
  return _mm256_mulhrs_epi16(a, b);
}

// uint16 lanes of u. The power of two is put together from its two bytes: there is no shift of
// 16-bit lanes by a vector.
class Exp2Neg {
 public:
  explicit Exp2Neg(const fixed::ExpPolynomial& c)
      : c3_(_mm256_set1_epi16(c.c3)),
        c2_(_mm256_set1_epi16(c.c2)),
        c1_(_mm256_set1_epi16(c.c1)),
        c0_(_mm256_set1_epi16(c.c0)) {}

  __m256i operator()(__m256i u) const {
    const __m256i fraction = _mm256_and_si256(_mm256_slli_epi16(u, 3), _mm256_set1_epi16(0x7ff8));
    __m256i y = _mm256_add_epi16(mulr(fraction, c3_), c2_);
    y = _mm256_add_epi16(mulr(fraction, y), c1_);
    y = _mm256_add_epi16(mulr(fraction, y), c0_);
    // Bytes of 2^(14 - whole): the low ones for whole = 7..14, the high ones for whole = 0..6.
    // A zero index finds a zero in `low`; bit 7 of an index makes a zero in `high`.
    const __m256i low = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(0, 0, 0, 0, 0, 0, 0, -128, 64, 32, 16, 8, 4, 2, 1, 0));
    const __m256i high = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(64, 32, 16, 8, 4, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0));
    const __m256i low_index = _mm256_srli_epi16(u, 12);
    const __m256i high_index = _mm256_or_si256(_mm256_srli_epi16(u, 4), _mm256_set1_epi16(0x0080));
    const __m256i power =
        _mm256_or_si256(_mm256_shuffle_epi8(low, low_index), _mm256_shuffle_epi8(high, high_index));
    return mulr(y, power);
  }

 private:
  __m256i c3_, c2_, c1_, c0_;
};

// int16 lanes, -32768 too. From |z| = end on v is 0, and so is delta; before, the last product is
// never negative with either polynomial, so the unsigned mean halves it with rounding.
class Gelu {
 public:
  explicit Gelu(const fixed::GeluPolynomial& c)
      : c4_(_mm256_set1_epi16(c.c4)),
        c3_(_mm256_set1_epi16(c.c3)),
        c2_(_mm256_set1_epi16(c.c2)),
        c1_(_mm256_set1_epi16(c.c1)),
        end_(_mm256_set1_epi16(c.end)) {}

  __m256i operator()(__m256i z) const {
    const __m256i zero = _mm256_setzero_si256();
    const __m256i magnitude = _mm256_abs_epi16(z);
    const __m256i near = _mm256_cmpgt_epi16(end_, magnitude);
    const __m256i v = _mm256_and_si256(near, _mm256_slli_epi16(magnitude, 3));
    __m256i y = _mm256_add_epi16(mulr(v, c4_), c3_);
    y = _mm256_add_epi16(mulr(v, y), c2_);
    y = _mm256_add_epi16(mulr(v, y), c1_);
    const __m256i delta = _mm256_avg_epu16(mulr(v, y), zero);
    return _mm256_sub_epi16(_mm256_max_epi16(z, zero), delta);
  }

 private:
  __m256i c4_, c3_, c2_, c1_, end_;
};

// int16 lanes: rshr(a * b, shift) for shift >= 1, saturated to int16. |a * b| < 2^30.
inline __m256i mul_rshr(__m256i a, __m256i b, int shift) {
  const __m256i high = _mm256_mulhi_epi16(a, b);
  if (shift > 16) {  // the rounding constant is a multiple of 2^16: the low half cannot matter
    const __m256i half = _mm256_set1_epi16(static_cast<int16_t>(1 << (shift - 17)));
    return _mm256_sra_epi16(_mm256_add_epi16(high, half), _mm_cvtsi32_si128(shift - 16));
  }
  const __m256i low = _mm256_mullo_epi16(a, b);
  return _mm256_packs_epi32(rshr(_mm256_unpacklo_epi16(low, high), shift),
                            rshr(_mm256_unpackhi_epi16(low, high), shift));
}

}  // namespace pyqrt::avx2
