// gelu: GELU-K4 on Q5.10 and requantization to int8. The linear op fuses it; this is the op alone.
//
// Reals:     out = x * Phi(x)   (the erf form; gelu_new and gelu_fast differ from it by 4.7e-4,
//            less than this approximation's 2.8e-3, and use it too). The polynomial is a choice:
//            i-GELU of I-BERT (Kim et al. 2021) is the other (fixed.h).
//
// Integers, for row i and channel j:
//   g = fixed::gelu(x[i,j], polynomial)                                          Q5.10
//   out = sat8(rshr(g * multiplier[j], shift) + zero_point)
//
// Ranges: x in [-32767, 32767]; multiplier in [0, 32767]; shift in [1, 30];
//   zero_point in [-127, 127]; |g * multiplier| < 2^30.
// Rows may have any stride >= n and any alignment; nothing beyond n is read or written.
#pragma once

#include <array>

#include "base/dispatch.h"
#include "base/types.h"
#include "fixed/fixed.h"

namespace pyqrt {

struct GeluArgs {
  int64_t n = 0;
  const int16_t* input = nullptr;  // [rows, n]
  int64_t input_stride = 0;
  fixed::GeluPolynomial polynomial = fixed::kGeluMinimax;
  const int16_t* multiplier = nullptr;  // [n]
  int shift = 0;
  int32_t zero_point = 0;
  int8_t* output = nullptr;  // [rows, n]
  int64_t output_stride = 0;
};

using GeluKernel = void(const GeluArgs& args, Range rows);

#define PYQRT_KERNEL(name, isa) GeluKernel gelu_##name;
#include "ops/gelu/kernels.inc"
#undef PYQRT_KERNEL

inline constexpr std::array kGeluKernels{
#define PYQRT_KERNEL(name, isa) Kernel<GeluKernel>{Isa::isa, gelu_##name},
#include "ops/gelu/kernels.inc"
#undef PYQRT_KERNEL
};

}  // namespace pyqrt
