// floor(a / b). CPUs divide. GPUs have no integer division: compilers build it from floating-point
// reciprocals, which kernels must not contain, so there it is made of multiplications.
#pragma once

#include <cstdint>

namespace pyqrt::fixed {

// The high 64 bits of a * b.
constexpr uint64_t multiply_high(uint64_t a, uint64_t b) {
#ifdef __CUDA_ARCH__
  return __umul64hi(a, b);
#else
  __extension__ using Wide = unsigned __int128;
  return static_cast<uint64_t>((Wide{a} * b) >> 64);
#endif
}

// floor(a / b) for b >= 1, from multiplications. With b = D 2^(32-s), D in [1/2, 1), x is a lower
// bound of 1 / D with unit 2^-30: Newton's iteration x (2 - D x) never exceeds 1 / D, whatever x
// is, and truncation only lowers it. (a x) >> (62 - s) is then at most the quotient; what is left
// is divided in the same way, about 27 bits at a time.
constexpr uint64_t divide_by_multiplying(uint64_t a, uint32_t b) {
  int s = 0;
  uint32_t d = b;
  for (int step = 16; step > 0; step /= 2) {
    if (d >> (32 - step) == 0) {
      d <<= step;
      s += step;
    }
  }
  // 48/17 - 32/17 D, within 1/17 of 1 / D (both constants rounded so as to stay below).
  uint64_t x = 3031741620u - ((uint64_t{d} * 2021161081u) >> 32);
  for (int i = 0; i < 3; ++i) {
    const uint64_t product = ((d * x) >> 32) + 1;  // D x, rounded up
    x = (x * ((uint64_t{1} << 31) - product)) >> 30;
  }
  uint64_t quotient = 0;
  while (a >= b) {
    const uint64_t part = multiply_high(a, x << 33) >> (31 - s);
    const uint64_t step = part == 0 ? 1 : part;
    quotient += step;
    a -= step * b;
  }
  return quotient;
}

constexpr uint64_t divide(uint64_t a, uint32_t b) {
#if defined(__CUDA_ARCH__) || defined(PYQRT_CUDA_EMULATOR)
  return divide_by_multiplying(a, b);
#else
  return a / b;
#endif
}

}  // namespace pyqrt::fixed
