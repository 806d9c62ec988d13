// fixed.h for 128-bit NEON vectors: the same functions under the same names, equal bit for bit.
// The rounding instructions of AArch64 (SRSHL, SQRDMULH) round as fixed.h does, half up, and keep
// the bit that a plain addition would lose.
#pragma once

#include <arm_neon.h>

#include "fixed/fixed.h"

namespace pyqrt::neon {

// int32 lanes.
inline int32x4_t clamp(int32x4_t value, int32_t low, int32_t high) {
  return vminq_s32(vmaxq_s32(value, vdupq_n_s32(low)), vdupq_n_s32(high));
}
inline int32x4_t sat8(int32x4_t value) {
  return clamp(value, -fixed::kMaxS8, fixed::kMaxS8);
}
inline int32x4_t sat16(int32x4_t value) {
  return clamp(value, -fixed::kMaxS16, fixed::kMaxS16);
}

// Eight int32 -> int16, four and four, saturated: sat16.
inline int16x8_t pack_sat16(int32x4_t left, int32x4_t right) {
  const int16x8_t packed = vqmovn_high_s32(vqmovn_s32(left), right);
  return vmaxq_s16(packed, vdupq_n_s16(-fixed::kMaxS16));
}
// Sixteen int16 -> int8: sat8.
inline int8x16_t pack_sat8(int16x8_t left, int16x8_t right) {
  const int8x16_t packed = vqmovn_high_s16(vqmovn_s16(left), right);
  return vmaxq_s8(packed, vdupq_n_s8(-fixed::kMaxS8));
}

// int32 lanes, one shift for all of them. A negative one shifts left, as in fixed.h.
inline int32x4_t rshr(int32x4_t value, int shift) {
  return vrshlq_s32(value, vdupq_n_s32(-shift));
}
// int64 lanes.
inline int64x2_t rshr64(int64x2_t value, int shift) {
  return vrshlq_s64(value, vdupq_n_s64(-shift));
}

// What requantize derives from four multipliers and shifts.
struct Scale {
  int32x4_t multiplier;
  int32x4_t left;   // max(0, 32 - shift): keeps the rounding constant above bit 31
  int32x4_t right;  // 31 - left - shift, negative: SRSHL shifts left by it
};
inline Scale make_scale(int32x4_t multiplier, int32x4_t shift) {
  const int32x4_t left = vmaxq_s32(vsubq_s32(vdupq_n_s32(32), shift), vdupq_n_s32(0));
  return {multiplier, left, vsubq_s32(vdupq_n_s32(31), vaddq_s32(left, shift))};
}

// int32 lanes, a multiplier and a shift in each. SQDMULH is floor(a * b / 2^31): as in fixed.h the
// floor loses nothing, the rounding constant 2^(shift + left - 1) being a multiple of 2^31.
inline int32x4_t requantize(int32x4_t acc, const Scale& scale) {
  const int32x4_t high = vqdmulhq_s32(vshlq_s32(acc, scale.left), scale.multiplier);
  return vrshlq_s32(high, scale.right);
}
inline int32x4_t requantize(int32x4_t acc, int32x4_t multiplier, int32x4_t shift) {
  return requantize(acc, make_scale(multiplier, shift));
}

// int16 lanes.
inline int16x8_t mulr(int16x8_t a, int16x8_t b) {
  return vqrdmulhq_s16(a, b);
}

// uint16 lanes of u. A shift by 16 leaves zero.
class Exp2Neg {
 public:
  explicit Exp2Neg(const fixed::ExpPolynomial& c)
      : c3_(vdupq_n_s16(c.c3)),
        c2_(vdupq_n_s16(c.c2)),
        c1_(vdupq_n_s16(c.c1)),
        c0_(vdupq_n_s16(c.c0)) {}

  int16x8_t operator()(uint16x8_t u) const {
    const int16x8_t fraction =
        vreinterpretq_s16_u16(vandq_u16(vshlq_n_u16(u, 3), vdupq_n_u16(0x7ff8)));
    int16x8_t y = vaddq_s16(mulr(fraction, c3_), c2_);
    y = vaddq_s16(mulr(fraction, y), c1_);
    y = vaddq_s16(mulr(fraction, y), c0_);
    // mulr(y, 2^(14 - whole)) = rshr(y, whole + 1), and -(whole + 1) = ~whole.
    return vrshlq_s16(y, vmvnq_s16(vreinterpretq_s16_u16(vshrq_n_u16(u, 12))));
  }

 private:
  int16x8_t c3_, c2_, c1_, c0_;
};

// int16 lanes. From |z| = end on v is 0, and so is delta.
class Gelu {
 public:
  explicit Gelu(const fixed::GeluPolynomial& c)
      : c4_(vdupq_n_s16(c.c4)),
        c3_(vdupq_n_s16(c.c3)),
        c2_(vdupq_n_s16(c.c2)),
        c1_(vdupq_n_s16(c.c1)),
        end_(vdupq_n_s16(c.end)) {}

  int16x8_t operator()(int16x8_t z) const {
    const int16x8_t magnitude = vabsq_s16(z);
    const int16x8_t near = vreinterpretq_s16_u16(vcltq_s16(magnitude, end_));
    const int16x8_t v = vandq_s16(near, vshlq_n_s16(magnitude, 3));
    int16x8_t y = vaddq_s16(mulr(v, c4_), c3_);
    y = vaddq_s16(mulr(v, y), c2_);
    y = vaddq_s16(mulr(v, y), c1_);
    const int16x8_t delta = vrshrq_n_s16(mulr(v, y), 1);
    return vsubq_s16(vmaxq_s16(z, vdupq_n_s16(0)), delta);
  }

 private:
  int16x8_t c4_, c3_, c2_, c1_, end_;
};

// int16 lanes: rshr(a * b, shift), saturated to int16. |a * b| < 2^30.
inline int16x8_t mul_rshr(int16x8_t a, int16x8_t b, int shift) {
  const int32x4_t low = vmull_s16(vget_low_s16(a), vget_low_s16(b));
  return vqmovn_high_s32(vqmovn_s32(rshr(low, shift)), rshr(vmull_high_s16(a, b), shift));
}

}  // namespace pyqrt::neon
