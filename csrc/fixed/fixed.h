// THE arithmetic. Every rounding in pyqrt is one of the functions below; fixed_<isa>.h hold the
// same functions under the same names for vectors, equal bit for bit. README.md derives them.
//
// Everything is constexpr, which is also what lets CUDA kernels call it: the arithmetic of every
// backend is this text.
//
// Notation: Qm.n is an integer whose unit is 2^-n. `>>` on signed values is an arithmetic shift.
#pragma once

#include <cstdint>
#include <string_view>

#include "fixed/divide.h"

namespace pyqrt::fixed {

// Storage ranges. The most negative values are never produced: symmetric ranges keep negation
// and pairwise products exact on every instruction set.
inline constexpr int32_t kMaxS8 = 127;
inline constexpr int32_t kMaxS16 = 32767;

constexpr int32_t clamp(int32_t value, int32_t low, int32_t high) {
  return value < low ? low : value > high ? high : value;
}
constexpr int32_t sat8(int32_t value) {
  return clamp(value, -kMaxS8, kMaxS8);
}
constexpr int32_t sat16(int32_t value) {
  return clamp(value, -kMaxS16, kMaxS16);
}

// Rounding shift right: (v + 2^(s-1)) >> s, ties towards +infinity. s <= 0 shifts left.
// Requires: the shifted or rounded value fits the type.
constexpr int32_t rshr(int32_t value, int shift) {
  if (shift <= 0) return static_cast<int32_t>(static_cast<uint32_t>(value) << -shift);
  return (value + (int32_t{1} << (shift - 1))) >> shift;
}
constexpr int64_t rshr64(int64_t value, int shift) {
  if (shift <= 0) return static_cast<int64_t>(static_cast<uint64_t>(value) << -shift);
  return (value + (int64_t{1} << (shift - 1))) >> shift;
}

// REQ: acc * multiplier * 2^-shift, one rounding. The result is not saturated.
//   multiplier in [2^30, 2^31), shift in [26, 62],
//   |acc| < 2^(31 - max(0, 33 - shift))   so that |result| <= 2^29
// Vector code computes the same value as rshr(hi32((acc << l) * multiplier), shift + l - 32) with
// l = max(0, 33 - shift): the floor of the high half loses nothing because the rounding
// constant 2^(shift+l-1) is a multiple of 2^32.
inline constexpr int kMinShift = 26;
inline constexpr int kMaxShift = 62;
constexpr int32_t requantize(int32_t acc, int32_t multiplier, int shift) {
  return static_cast<int32_t>(rshr64(int64_t{acc} * multiplier, shift));
}

// mulr: (a * b + 2^14) >> 15 on int16 (pmulhrsw = SQRDMULH). Never both -32768.
constexpr int32_t mulr(int32_t a, int32_t b) {
  return (a * b + (1 << 14)) >> 15;
}
// mulr(a, b) + c with one sum less. Requires: |a * b + c * 2^15 + 2^14| < 2^31.
constexpr int32_t mulr_add(int32_t a, int32_t b, int32_t c) {
  return (a * b + (c * (1 << 15) + (1 << 14))) >> 15;
}

// E16: 2^-u in units of 2^-14, u in Q4.12 as uint16. Result in [0, 16382]. The polynomial in the
// fraction f of u is ((c3 f + c2) f + c1) f + c0, f and result in units of 2^-15.
//   kExpMinimax  within 1.36e-4, monotone
//   kExpIbert    i-exp of I-BERT, 0.3585 (x + 1.353)^2 + 0.344 at x = -f ln 2: within 2.2e-3
struct ExpPolynomial {
  int16_t c3, c2, c1, c0;
};
inline constexpr ExpPolynomial kExpMinimax{-1300, 7572, -22655, 32764};
inline constexpr ExpPolynomial kExpIbert{0, 5644, -22034, 32764};
constexpr int32_t exp2_neg(uint32_t u, const ExpPolynomial& c) {
  const int32_t whole = static_cast<int32_t>(u >> 12);
  const int32_t fraction = static_cast<int32_t>(u & 4095) << 3;
  int32_t y = mulr_add(fraction, c.c3, c.c2);
  y = mulr_add(fraction, y, c.c1);
  y = mulr_add(fraction, y, c.c0);
  return ((y >> whole) + 1) >> 1;
}

// GELU-K4 on Q5.10 (|z| <= 32767): relu(z) - delta(|z|), delta a polynomial without constant term
// in |z|, zero from `end` on. Result in Q5.10.
// The polynomial is nowhere negative below `end`; vector code relies on that.
//   kGeluMinimax  within 2.8e-3 of the erf GELU
//   kGeluIbert    i-GELU of I-BERT, erf(a) = 1 - 0.2888 (min(a, 1.769) - 1.769)^2: within 1.9e-2
struct GeluPolynomial {
  int16_t c4, c3, c2, c1, end;

  constexpr bool operator==(const GeluPolynomial& other) const {
    return c4 == other.c4 && c3 == other.c3 && c2 == other.c2 && c1 == other.c1 && end == other.end;
  }
};
inline constexpr GeluPolynomial kGeluMinimax{-10649, 23499, -17397, 4338, 3328};
inline constexpr GeluPolynomial kGeluIbert{0, 9463, -11837, 3702, 2562};
constexpr int32_t gelu(int32_t z, const GeluPolynomial& c) {
  const int32_t magnitude = z < 0 ? -z : z;
  const int32_t v = magnitude < c.end ? magnitude : c.end;
  // mulr_add(8 v, y, next) with v's zeros left out, and at the end (mulr(8 v, y) + 1) >> 1.
  int32_t y = (v * c.c4 + (c.c3 * (1 << 12) + (1 << 11))) >> 12;
  y = (v * y + (c.c2 * (1 << 12) + (1 << 11))) >> 12;
  y = (v * y + (c.c1 * (1 << 12) + (1 << 11))) >> 12;
  const int32_t delta = magnitude >= c.end ? 0 : (v * y + (1 << 11) + (1 << 12)) >> 13;
  return (z > 0 ? z : 0) - delta;
}

// The polynomials of a name, "minimax" or "ibert"; null for any other.
inline const ExpPolynomial* exp_polynomial(std::string_view name) {
  return name == "minimax" ? &kExpMinimax : name == "ibert" ? &kExpIbert : nullptr;
}
inline const GeluPolynomial* gelu_polynomial(std::string_view name) {
  return name == "minimax" ? &kGeluMinimax : name == "ibert" ? &kGeluIbert : nullptr;
}

// Number of bits of a non-negative integer; bit_length(0) = 0.
constexpr int bit_length(uint64_t value) {
#ifdef __CUDA_ARCH__
  return 64 - __clzll(static_cast<int64_t>(value));  // 64 zeros lead 0
#else
  return value == 0 ? 0 : 64 - __builtin_clzll(value);
#endif
}

// floor(sqrt(value)), exact, value < 2^62. Newton's iteration with integer division. Whatever
// positive number it starts from, one step leads to the root or above it (the mean of x and v / x
// is at least sqrt(v)), and from above every step goes down. It ends at the first x with x^2 <= v,
// which is the root; how close the start is decides only how soon (README.md, section 7).
constexpr uint64_t isqrt(uint64_t value) {
  if (value == 0) return 0;
  if constexpr (kDividesByMultiplying) {
    const int up = 31 - (bit_length(value) + 1) / 2;
    return root_by_multiplying(value << (2 * up)) >> up;
  }
  // value = m * 2^(2h - 2) with m in [1, 4), t = m * 2^29, and a parabola within 0.6 % of sqrt(m).
  const int h = (bit_length(value) + 1) / 2;
  const uint64_t t = (value << (62 - 2 * h)) >> 31;
  const uint64_t slope = 564798615 - ((t * 42455870) >> 29);
  const uint64_t start = 556793784 + ((t * slope) >> 29);
  uint64_t root = (start >> (31 - h)) + 1;
  do {
    root = (root + divide(value, static_cast<uint32_t>(root))) >> 1;
  } while (root * root > value);
  return root;
}

// floor(a / b), b in [1, 2^32).
constexpr int64_t floor_div(int64_t a, int64_t b) {
  const auto divisor = static_cast<uint32_t>(b);
  return a >= 0 ? static_cast<int64_t>(divide(static_cast<uint64_t>(a), divisor))
                : -static_cast<int64_t>(divide(static_cast<uint64_t>(-a + b - 1), divisor));
}

// Rounded mean of `count` values with sum `sum`, ties towards +infinity.
constexpr int64_t rounded_mean(int64_t sum, int64_t count) {
  return floor_div(2 * sum + count, 2 * count);
}

}  // namespace pyqrt::fixed
