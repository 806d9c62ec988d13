// linear: packed rows times a constant int8 matrix, and everything that can follow on the
// accumulator before it leaves the registers.
//
// Reals:     out = epilogue(x W^T + b)
//
// Integers, for row i and output channel j:
//   input s8:       acc = sum_k q[i,k] * w[j,k] + bias[j]                          exact in int32
//   input s16:      acc = rshr64(sum_k q[i,k] * w[j,k], pre_shift) + bias[j]       sum in int64
//                   r = requantize(acc, multiplier[j], shift[j])
//   kRequantizeS8:  out = sat8(r + zero_point)
//   kRequantizeS16: out = sat16(r)
//   kRequantizeS32: out = r
//   kGeluS8:        g = gelu(sat16(r))                       r in Q5.10; the polynomial is a choice
//                   out = sat8(rshr(g * gelu_multiplier[j], gelu_shift) + zero_point)
//   kGeluS16:       out = gelu(sat16(r))                                 r and out in Q5.10
//   kResidualS16:   out = sat16(r + rshr(residual[i,j] * residual_multiplier, residual_shift))
//
// The input's zero point is folded into the bias by whoever made the file.
//
// Layout: weight is [ceil(n/16)][ceil(k/4)][16][4]: block of 16 channels, group of 4 inputs,
// channel, input; zeros where n or k is padded. The same bytes serve 512-, 256- and 128-bit
// dot-product instructions. Per-channel arrays hold round_up(n, 16) entries.
// weight_sum[j] = sum_k w[j,k], for instruction sets that multiply unsigned by signed.
//
// Ranges (checked when a model is loaded):
//   k in [1, 65536]; w in [-127, 127]; q in [-127, 127] or [-32767, 32767]
//   multiplier in [2^30, 2^31), shift in [26, 62]; pre_shift in [0, 16] (0 for s8 input)
//   |acc| < 2^(31 - max(0, 33 - shift)), proven from k and bias alone:
//     s8:  127 * 127 * k + |bias|;   s16:  ((32767 * 127 * k) >> pre_shift) + 1 + |bias|
//   gelu_multiplier in [0, 32767], gelu_shift in [1, 30]
//   residual_multiplier in [0, 32767], residual_shift in [1, 30]; zero_point in [-127, 127]
//
// Rows of input, residual and output may have any stride >= their width (in elements) and any
// alignment; nothing beyond the width is read or written. `output` may alias `residual` exactly,
// and nothing else. m = 0 does nothing. Thread-safe for disjoint (rows, blocks).
#pragma once

#include <array>

#include "base/dispatch.h"
#include "base/types.h"
#include "fixed/fixed.h"

namespace pyqrt {

enum class LinearEpilogue : uint8_t {
  kRequantizeS8,
  kRequantizeS16,
  kRequantizeS32,
  kGeluS8,
  kGeluS16,
  kResidualS16,
};

struct PairedWeight;

inline constexpr int kLinearBlock = 16;  // output channels of one weight block
inline constexpr int kLinearGroup = 4;   // inputs of one dot-product group

struct LinearArgs {
  int64_t m = 0;  // rows
  int64_t k = 0;  // inputs
  int64_t n = 0;  // output channels

  const void* input = nullptr;  // s8 or s16 [m, k]
  DataType input_type = DataType::kS8;
  int64_t input_stride = 0;

  const int8_t* weight = nullptr;  // [ceil(n/16)][ceil(k/4)][16][4]
  // The same weight rearranged (linear_paired.h), or null.
  const PairedWeight* paired = nullptr;
  const int32_t* weight_sum = nullptr;  // [round_up(n, 16)], as all per-channel arrays
  const int32_t* bias = nullptr;
  const int32_t* multiplier = nullptr;
  const int32_t* shift = nullptr;
  int pre_shift = 0;

  LinearEpilogue epilogue = LinearEpilogue::kRequantizeS8;
  int32_t zero_point = 0;
  fixed::GeluPolynomial gelu = fixed::kGeluMinimax;
  const int16_t* gelu_multiplier = nullptr;  // [round_up(n, 32)], the first n count
  int gelu_shift = 0;
  const int16_t* residual = nullptr;  // [m, n]
  int64_t residual_stride = 0;
  int32_t residual_multiplier = 0;
  int residual_shift = 0;

  void* output = nullptr;  // s8, s16 or s32 [m, n] as the epilogue says
  int64_t output_stride = 0;
};

constexpr DataType linear_output_type(LinearEpilogue epilogue) {
  return epilogue == LinearEpilogue::kRequantizeS32 ? DataType::kS32
         : epilogue == LinearEpilogue::kRequantizeS8 || epilogue == LinearEpilogue::kGeluS8
             ? DataType::kS8
             : DataType::kS16;
}

// Scratch memory a call needs, in bytes, 64-byte aligned, one per thread: a chunk of
// kLinearRowChunk input rows, repacked for the instruction set (at most two planes of 16 bits).
inline constexpr int64_t kLinearRowChunk = 48;
constexpr std::size_t linear_scratch_bytes(int64_t k) {
  return static_cast<std::size_t>(kLinearRowChunk * round_up(k, 64) * 4);
}

// Computes out[rows, 16 * blocks). rows within [0, m), blocks within [0, ceil(n/16)).
using LinearKernel = void(const LinearArgs& args, Range rows, Range blocks, void* scratch);

#define PYQRT_KERNEL(name, isa) LinearKernel linear_##name;
#include "ops/linear/kernels.inc"
#undef PYQRT_KERNEL

inline constexpr std::array kLinearKernels{
#define PYQRT_KERNEL(name, isa) Kernel<LinearKernel>{Isa::isa, linear_##name},
#include "ops/linear/kernels.inc"
#undef PYQRT_KERNEL
};

}  // namespace pyqrt
