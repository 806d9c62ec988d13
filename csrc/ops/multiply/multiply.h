// multiply: the element-wise product of two int16 tensors, requantized: gated feed-forward networks
// (Shazeer 2020, arXiv 2002.05202).
//
// Reals:     out[c] = a[c] * b[c]
// Integers:  r = rshr64(a[i,c] * b[i,c] * multiplier[c], shift[c])
//            s8 output: sat8(r + zero_point);  s16 output: sat16(r)
//
// Ranges: a, b in [-32767, 32767]; multiplier in [2^30, 2^31); shift in [32, 62], so |a b| < 2^30
// is
//   within the budget of fixed::requantize and r fits int32; zero_point in [-127, 127].
// One of the outputs is null. Nothing beyond the width is read or written.
#pragma once

#include <array>

#include "base/dispatch.h"
#include "base/types.h"
#include "fixed/fixed.h"

namespace pyqrt {

struct MultiplyArgs {
  int64_t width = 0;
  const int16_t* a = nullptr;  // [rows, width]
  const int16_t* b = nullptr;  // [rows, width]
  int64_t a_stride = 0;
  int64_t b_stride = 0;
  const int32_t* multiplier = nullptr;  // [width]
  const int32_t* shift = nullptr;       // [width]
  int32_t zero_point = 0;
  int8_t* output8 = nullptr;    // [rows, width] or null
  int16_t* output16 = nullptr;  // [rows, width] or null
  int64_t output_stride = 0;
};

inline constexpr int kMultiplyMinShift = 32;

// Writes column c of row i.
constexpr void multiply_element(const MultiplyArgs& args, int64_t i, int64_t c) {
  const int32_t product = args.a[i * args.a_stride + c] * args.b[i * args.b_stride + c];
  const int32_t r = fixed::requantize(product, args.multiplier[c], args.shift[c]);
  const int64_t at = i * args.output_stride + c;
  if (args.output8 != nullptr) {
    args.output8[at] = static_cast<int8_t>(fixed::sat8(r + args.zero_point));
  } else {
    args.output16[at] = static_cast<int16_t>(fixed::sat16(r));
  }
}

using MultiplyKernel = void(const MultiplyArgs& args, Range rows);

#define PYQRT_KERNEL(name, isa) MultiplyKernel multiply_##name;
#include "ops/multiply/kernels.inc"
#undef PYQRT_KERNEL

inline constexpr std::array kMultiplyKernels{
#define PYQRT_KERNEL(name, isa) Kernel<MultiplyKernel>{Isa::isa, multiply_##name},
#include "ops/multiply/kernels.inc"
#undef PYQRT_KERNEL
};

}  // namespace pyqrt
