// normalize: rows divided by their Euclidean length, as Q1.30.
//
// Reals:     out = x / |x|_2                (the scale of x cancels)
// Integers, per row:
//   N = sum x^2                                                      int64, exact
//   N = 0: out = 0. Otherwise
//     e = ceil(bit_length(N) / 2);  r = isqrt(N << 2(31 - e))        in [2^30, 2^31)
//     inv = floor(2^61 / r)                                          in [2^30, 2^31]
//     out = clamp(rshr64(x * inv, e), -2^30, 2^30)                   unit 2^-30
//
// n in [1, 65536], x in [-32767, 32767]: N < 2^46, |x * inv| < 2^46.
// Nothing beyond the width is read or written.
#pragma once

#include <array>

#include "base/dispatch.h"
#include "base/types.h"

namespace pyqrt {

struct NormalizeArgs {
  int64_t width = 0;
  const int16_t* input = nullptr;  // [rows, width]
  int64_t input_stride = 0;
  int32_t* output = nullptr;  // [rows, width]
  int64_t output_stride = 0;
};

using NormalizeKernel = void(const NormalizeArgs& args, Range rows);

#define PYQRT_KERNEL(name, isa) NormalizeKernel normalize_##name;
#include "ops/normalize/kernels.inc"
#undef PYQRT_KERNEL

inline constexpr std::array kNormalizeKernels{
#define PYQRT_KERNEL(name, isa) Kernel<NormalizeKernel>{Isa::isa, normalize_##name},
#include "ops/normalize/kernels.inc"
#undef PYQRT_KERNEL
};

}  // namespace pyqrt
