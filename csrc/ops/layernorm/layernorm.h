// layernorm: one pass over a row of the int16 residual stream, up to two outputs: int8 for the
// next matrix product (with its own per-channel smoothing) and int16 for the residual (LN16).
//
// Reals:     out_j = gamma_j * (x_j - mean) / sqrt(var + eps) + beta_j
//
// Integers, per row of n values q (the scale of q cancels):
//   S1 = sum q;  S2 = sum q^2;  N = n * S2 - S1^2 + epsilon            int64, exact
//   mu = rounded_mean(S1, n)
//   N = 0: y = 0. Otherwise
//     e = ceil(bit_length(N) / 2);  r = isqrt(N << 2(31 - e))           in [2^30, 2^31)
//     inv = floor(n * 2^46 / r);  k = bit_length(inv) - 14;  i = rshr64(inv, k)
//     if i == 2^14: i = 2^13, k = k + 1
//     c = mu * i; with `exact_mean` c = rounded_mean(S1 * i, n), for a mean in whole units is off
//       by up to a half, which is much where one channel makes nearly all of the variance
//     y_j = sat16(rshr(q_j * i - c, 15 - Y + e - k))                   Y fraction bits
//   Y = 10 for n <= 1024, else 9 (|y| can reach sqrt(n - 1))
//   Without `normalize` y_j = q_j and Y = 0: a gain and a bias alone, which some encoders have in
//   the place of a norm (Sun et al. 2020, arXiv 2004.02984).
//   out8_j  = sat8 (rshr(y_j * gain8[j]  + bias8[j],  shift8))
//   out16_j = sat16(rshr(y_j * gain16[j] + bias16[j], shift16))
// gain = gamma / scale_out * 2^shift / 2^Y (without `normalize` times scale_in), bias = (beta /
// scale_out + zero_point) * 2^shift. epsilon = round(n^2 * eps / scale_in^2).
//
// Ranges: q in [-32767, 32767]; n in [1, 16384]; epsilon in [0, 2^56];
//   gain in [-32767, 32767], |bias| < 2^30, shift in [1, 30], and in every channel
//   32767 * |gain| + |bias| + 2^(shift - 1) < 2^31, so that the rounding sum fits int32
//   15 - Y + e - k in [-10, 31]: a left shift for rows close to constant; |y| <= 2^17 before sat16
//   q_j * i - c fits int32: |q_j - mu| < 2^16 and i < 2^14, and so with the exact mean, the product
//   then being rounded to an integer. |S1 * i| < 2^43. N < 2^58 + 2^56 keeps e <= 30.
// output8 or output16 may be null. Neither may alias the input, except output16 exactly.
// Rows may have any stride >= n and any alignment; nothing beyond n is read or written.
#pragma once

#include <array>

#include "base/dispatch.h"
#include "base/types.h"

namespace pyqrt {

template <class Element>
struct LayerNormOutput {
  Element* data = nullptr;  // [rows, n]; null: not wanted
  int64_t stride = 0;
  const int16_t* gain = nullptr;  // [n]
  const int32_t* bias = nullptr;  // [n]
  int shift = 1;
};

struct LayerNormArgs {
  int64_t n = 0;
  const int16_t* input = nullptr;  // [rows, n]
  int64_t input_stride = 0;
  int64_t epsilon = 0;
  bool normalize = true;
  bool exact_mean = false;
  LayerNormOutput<int8_t> output8;
  LayerNormOutput<int16_t> output16;
};

inline constexpr int64_t kLayerNormMaxWidth = 16384;
constexpr int layernorm_fraction_bits(int64_t n) {
  return n <= 1024 ? 10 : 9;
}

using LayerNormKernel = void(const LayerNormArgs& args, Range rows);

#define PYQRT_KERNEL(name, isa) LayerNormKernel layernorm_##name;
#include "ops/layernorm/kernels.inc"
#undef PYQRT_KERNEL

inline constexpr std::array kLayerNormKernels{
#define PYQRT_KERNEL(name, isa) Kernel<LayerNormKernel>{Isa::isa, layernorm_##name},
#include "ops/layernorm/kernels.inc"
#undef PYQRT_KERNEL
};

}  // namespace pyqrt
