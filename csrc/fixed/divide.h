// floor(a / b). CPUs divide. GPUs have no integer division: compilers build it from floating-point
// reciprocals, which kernels must not contain, so there it is made of multiplications.
#pragma once

#include <cstdint>

namespace pyqrt::fixed {

constexpr uint32_t multiply_high32(uint32_t a, uint32_t b) {
  return static_cast<uint32_t>((uint64_t{a} * b) >> 32);
}

// Zeros before the leading one; value > 0.
constexpr int leading_zeros32(uint32_t value) {
#ifdef __CUDA_ARCH__
  return __clz(static_cast<int32_t>(value));
#else
  return __builtin_clz(value);
#endif
}

// floor(a / b) for b >= 1, from multiplications. With b = D 2^(32-s), D in [1/2, 1), x is a lower
// bound of 1 / D with unit 2^-31: Newton's iteration x (2 - D x) never exceeds 1 / D, whatever x
// is, and truncation only lowers it. (a x) >> (63 - s) is then at most the quotient; what is left
// is divided in the same way, about 28 bits at a time.
constexpr uint64_t divide_by_multiplying(uint64_t a, uint32_t b) {
  const int s = leading_zeros32(b);
  const uint32_t d = b << s;
  // 48/17 - 32/17 D, within 1/17 of 1 / D (both constants rounded so as to stay below); the first
  // is 2^32 larger, which subtraction takes away.
  uint32_t x = 1768515944u - multiply_high32(d, 4042322161u);
  for (int i = 0; i < 3; ++i) {
    const uint32_t two_less_dx = ~multiply_high32(d, x);  // D x rounded up
    x = static_cast<uint32_t>((uint64_t{x} * two_less_dx) >> 31);
  }
  uint64_t quotient = 0;
  while (a >= b) {
    const uint64_t product = (a >> 32) * x + multiply_high32(static_cast<uint32_t>(a), x);
    const uint64_t part = product >> (31 - s);
    const uint64_t step = part == 0 ? 1 : part;
    quotient += step;
    a -= step * b;
  }
  return quotient;
}

// floor(sqrt(value)) for value in [2^60, 2^62), from multiplications: y is 1 / sqrt(m) with unit
// 2^-32, m = value 2^-60, from a parabola within 2.5 % by Newton's iteration y (3 - m y^2) / 2,
// which never exceeds 1 / sqrt(m), nor does it where m y^2 is rounded up. m y is then the root but
// for a few units, which the last two loops count.
constexpr uint32_t root_by_multiplying(uint64_t value) {
  const auto m = static_cast<uint32_t>(value >> 30);
  uint32_t y = (1433739403u - multiply_high32(m, 1763441232u - multiply_high32(m, 879517603u)))
               << 2;
  for (int i = 0; i < 3; ++i) {
    const uint32_t myy = multiply_high32(m, multiply_high32(y, y) + 1) + 1;
    const uint32_t three_less_myy = (3u << 30) - myy;
    y = static_cast<uint32_t>((uint64_t{y} * three_less_myy) >> 31);
  }
  uint32_t root = multiply_high32(m, y);
  auto rest = static_cast<int64_t>(value - uint64_t{root} * root);
  for (; rest < 0; --root) rest += 2 * int64_t{root} - 1;
  for (; rest > 2 * int64_t{root}; ++root) rest -= 2 * int64_t{root} + 1;
  return root;
}

// Whether this is compiled for a machine without integer division.
#if defined(__CUDA_ARCH__) || defined(PYQRT_CUDA_EMULATOR)
inline constexpr bool kDividesByMultiplying = true;
#else
inline constexpr bool kDividesByMultiplying = false;
#endif

constexpr uint64_t divide(uint64_t a, uint32_t b) {
  if constexpr (kDividesByMultiplying) {
    return divide_by_multiplying(a, b);
  } else {
    return a / b;
  }
}

}  // namespace pyqrt::fixed
