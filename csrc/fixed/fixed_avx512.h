// fixed.h for 512-bit vectors: the same functions under the same names, equal bit for bit.
// Only for translation units compiled with AVX-512 F, BW, VL and DQ.
#pragma once

// GCC 12 takes the deliberately undefined operands inside its own intrinsics for mistakes.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <immintrin.h>
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic pop
#endif

#include <cstdint>

#include "fixed/fixed.h"

namespace pyqrt::avx512 {

// int32 lanes.
inline __m512i clamp(__m512i value, int32_t low, int32_t high) {
  return _mm512_min_epi32(_mm512_max_epi32(value, _mm512_set1_epi32(low)), _mm512_set1_epi32(high));
}
inline __m512i sat16(__m512i value) {
  return clamp(value, -fixed::kMaxS16, fixed::kMaxS16);
}

// int32 lanes, one shift for all of them.
inline __m512i rshr(__m512i value, int shift) {
  if (shift <= 0) return _mm512_sll_epi32(value, _mm_cvtsi32_si128(-shift));
  const __m512i half = _mm512_set1_epi32(int32_t{1} << (shift - 1));
  return _mm512_sra_epi32(_mm512_add_epi32(value, half), _mm_cvtsi32_si128(shift));
}

// What requantize derives from 16 multipliers and shifts: worth keeping where they meet many rows.
struct Scale {
  __m512i multiplier;      // even lanes count
  __m512i multiplier_odd;  // the odd lanes, moved to the even ones
  __m512i left;            // max(0, 33 - shift): keeps the rounding constant above bit 32
  __m512i right;           // shift + left - 32
  __m512i half;            // 2^(right - 1)
};
inline Scale make_scale(__m512i multiplier, __m512i shift) {
  const __m512i least = _mm512_set1_epi32(33);
  const __m512i raised = _mm512_max_epi32(shift, least);
  const __m512i one = _mm512_set1_epi32(1);
  return {multiplier, _mm512_srli_epi64(multiplier, 32), _mm512_sub_epi32(raised, shift),
          _mm512_sub_epi32(raised, _mm512_set1_epi32(32)),
          _mm512_sllv_epi32(one, _mm512_sub_epi32(raised, least))};
}

// int32 lanes, a multiplier and a shift in each; the left shift of `acc` is already done.
inline __m512i requantize_raised(__m512i acc, const Scale& scale) {
  const __m512i even = _mm512_mul_epi32(acc, scale.multiplier);
  const __m512i odd = _mm512_mul_epi32(_mm512_srli_epi64(acc, 32), scale.multiplier_odd);
  const __m512i high = _mm512_mask_shuffle_epi32(odd, 0x5555, even, _MM_PERM_DDBB);
  return _mm512_srav_epi32(_mm512_add_epi32(high, scale.half), scale.right);
}
inline __m512i requantize(__m512i acc, __m512i multiplier, __m512i shift) {
  const Scale scale = make_scale(multiplier, shift);
  return requantize_raised(_mm512_sllv_epi32(acc, scale.left), scale);
}

// int16 lanes.
inline __m512i mulr(__m512i a, __m512i b) {
  return _mm512_mulhrs_epi16(a, b);
}

// uint16 lanes of u.
class Exp2Neg {
 public:
  explicit Exp2Neg(const fixed::ExpPolynomial& c)
      : c3_(_mm512_set1_epi16(c.c3)),
        c2_(_mm512_set1_epi16(c.c2)),
        c1_(_mm512_set1_epi16(c.c1)),
        c0_(_mm512_set1_epi16(c.c0)) {}

  __m512i operator()(__m512i u) const {
    const __m512i fraction = _mm512_and_si512(_mm512_slli_epi16(u, 3), _mm512_set1_epi16(0x7ff8));
    __m512i y = _mm512_add_epi16(mulr(fraction, c3_), c2_);
    y = _mm512_add_epi16(mulr(fraction, y), c1_);
    y = _mm512_add_epi16(mulr(fraction, y), c0_);
    // 2^(14 - whole), zero for whole = 15.
    const __m512i power = _mm512_srlv_epi16(_mm512_set1_epi16(1 << 14), _mm512_srli_epi16(u, 12));
    return mulr(y, power);
  }

 private:
  __m512i c3_, c2_, c1_, c0_;
};

// int16 lanes, -32768 too. From |z| = end on v is 0, and so is delta; before, the last product is
// never negative with either polynomial, so the unsigned mean halves it with rounding.
class Gelu {
 public:
  explicit Gelu(const fixed::GeluPolynomial& c)
      : c4_(_mm512_set1_epi16(c.c4)),
        c3_(_mm512_set1_epi16(c.c3)),
        c2_(_mm512_set1_epi16(c.c2)),
        c1_(_mm512_set1_epi16(c.c1)),
        end_(_mm512_set1_epi16(c.end)) {}

  __m512i operator()(__m512i z) const {
    const __m512i zero = _mm512_setzero_si512();
    const __m512i magnitude = _mm512_abs_epi16(z);
    const __mmask32 near = _mm512_cmplt_epi16_mask(magnitude, end_);
    const __m512i v = _mm512_maskz_slli_epi16(near, magnitude, 3);
    __m512i y = _mm512_add_epi16(mulr(v, c4_), c3_);
    y = _mm512_add_epi16(mulr(v, y), c2_);
    y = _mm512_add_epi16(mulr(v, y), c1_);
    const __m512i delta = _mm512_avg_epu16(mulr(v, y), zero);
    return _mm512_sub_epi16(_mm512_max_epi16(z, zero), delta);
  }

 private:
  __m512i c4_, c3_, c2_, c1_, end_;
};

// What mul_rshr derives from its shift, >= 1: worth keeping where it meets many vectors.
struct Rounding {
  int shift;
  __m512i half;   // int16: 2^(shift - 17), if shift > 16
  __m512i count;  // int16: shift - 16, if that is positive
};
inline Rounding make_rounding(int shift) {
  const int rest = shift > 16 ? shift - 16 : 0;
  return {shift, _mm512_set1_epi16(static_cast<int16_t>((1 << rest) >> 1)),
          _mm512_set1_epi16(static_cast<int16_t>(rest))};
}

// int16 lanes: rshr(a * b, shift), saturated to int16. |a * b| < 2^30.
inline __m512i mul_rshr(__m512i a, __m512i b, const Rounding& rounding) {
  const __m512i high = _mm512_mulhi_epi16(a, b);
  if (rounding.shift > 16) {  // half is a multiple of 2^16: the low half cannot matter
    return _mm512_srav_epi16(_mm512_add_epi16(high, rounding.half), rounding.count);
  }
  const __m512i low = _mm512_mullo_epi16(a, b);
  return _mm512_packs_epi32(rshr(_mm512_unpacklo_epi16(low, high), rounding.shift),
                            rshr(_mm512_unpackhi_epi16(low, high), rounding.shift));
}

}  // namespace pyqrt::avx512
