// rotary: rotary position embedding (Su et al. 2021, arXiv 2104.09864) of int16 queries and keys,
// to int8.
//
// Reals:     every pair (x_c, x_{c + r/2}) of a head is turned by the angle position * frequency_c,
//            c in [0, r/2); columns from r on stay as they are.
//
// Integers, for a row at position p and each head of d columns, C = cosine[p, c], S = sine[p, c]:
//   out[c]       = sat8(rshr(x[c] * C - x[c + r/2] * S, shift))
//   out[c + r/2] = sat8(rshr(x[c + r/2] * C + x[c] * S, shift))
//   out[c]       = sat8(rshr(x[c] * 2^14, shift))                          c >= r
// cosine and sine are units of 2^-14; scale_out = scale_in * 2^(shift - 14).
//
// Ranges: x in [-32767, 32767]; cosine, sine in [-2^14, 2^14]; r even, in [2, d]; shift in [15,
// 24]:
//   |x C| + |x S| <= 2 * 32767 * 2^14 < 2^30, with the rounding below 2^31.
// Positions are checked by the caller. Nothing beyond the width is read or written.
#pragma once

#include <array>

#include "base/dispatch.h"
#include "base/types.h"
#include "fixed/fixed.h"

namespace pyqrt {

struct RotaryArgs {
  int64_t heads = 0;  // of queries and keys together
  int64_t head_dim = 0;
  int64_t rotated = 0;  // r
  int shift = 15;
  const int32_t* position = nullptr;  // [rows]
  const int16_t* cosine = nullptr;    // [positions, r / 2]
  const int16_t* sine = nullptr;
  const int16_t* input = nullptr;  // [rows, heads * head_dim]
  int64_t input_stride = 0;
  int8_t* output = nullptr;  // [rows, heads * head_dim]
  int64_t output_stride = 0;
};

inline constexpr int kRotaryOne = 1 << 14;

// Column c of a head, from its columns `x` and the row of the tables for its position.
constexpr int8_t rotary_value(const RotaryArgs& args, const int16_t* x, const int16_t* cosine,
                              const int16_t* sine, int64_t c) {
  const int64_t half = args.rotated / 2;
  const int32_t turned = c >= args.rotated ? x[c] * kRotaryOne
                         : c < half        ? x[c] * cosine[c] - x[c + half] * sine[c]
                                           : x[c] * cosine[c - half] + x[c - half] * sine[c - half];
  return static_cast<int8_t>(fixed::sat8(fixed::rshr(turned, args.shift)));
}

using RotaryKernel = void(const RotaryArgs& args, Range rows);

#define PYQRT_KERNEL(name, isa) RotaryKernel rotary_##name;
#include "ops/rotary/kernels.inc"
#undef PYQRT_KERNEL

inline constexpr std::array kRotaryKernels{
#define PYQRT_KERNEL(name, isa) Kernel<RotaryKernel>{Isa::isa, rotary_##name},
#include "ops/rotary/kernels.inc"
#undef PYQRT_KERNEL
};

}  // namespace pyqrt
