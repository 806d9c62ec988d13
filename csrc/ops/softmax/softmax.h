// softmax: the un-normalised probabilities of a row of attention scores, and their sum (E16).
//
// Reals:     p_j = 2^((s_j - max s) * c), as 14-bit integers; the caller divides by the sum.
//
// Integers, for one row:
//   mx  = max_j score[j]
//   u_j = (min(mx - score[j], limit) * multiplier) >> 16        uint32 product, u_j < 2^16, Q4.12
//   P_j = exp2_neg(u_j, exponential)                            in [0, 16382]
//   high[j] = P_j >> 7, low[j] = P_j & 127, sum = sum_j P_j
// with limit = (2^32 - 1) / multiplier (softmax_limit). Two passes over the row, no online
// rescaling: the result does not depend on how the row is cut.
//
// multiplier = round(scale_of_scores * log2(e) * 2^28), in [1, 2^32 - 1]; 1 <= n <= 65536;
// |score| < 2^30. The row maximum always gets P = 16382, so sum >= 16382.
// (I-BERT, Kim et al. 2021, has the same shape with 8-bit normalised output; why not: README.
// Its polynomial is kExpIbert.)
//
// Rows may have any stride >= n and any alignment; nothing beyond n is read. high and low are
// written up to n only. n = 0: sum = 0. Outputs alias nothing.
#pragma once

#include <array>

#include "base/dispatch.h"
#include "base/types.h"
#include "fixed/fixed.h"

namespace pyqrt {

struct SoftmaxArgs {
  int64_t n = 0;
  const int32_t* score = nullptr;  // [rows, n]
  int64_t score_stride = 0;
  uint32_t multiplier = 1;
  fixed::ExpPolynomial exponential = fixed::kExpMinimax;
  uint8_t* high = nullptr;  // [rows, n]
  uint8_t* low = nullptr;   // [rows, n]
  int64_t plane_stride = 0;
  int32_t* sum = nullptr;  // [rows]
};

constexpr uint32_t softmax_limit(uint32_t multiplier) {
  return static_cast<uint32_t>(fixed::divide(0xffffffffu, multiplier));
}

// P_j of a score that is `below` the row's maximum.
constexpr int32_t softmax_term(uint32_t below, uint32_t limit, uint32_t multiplier,
                               const fixed::ExpPolynomial& exponential) {
  return fixed::exp2_neg(((below < limit ? below : limit) * multiplier) >> 16, exponential);
}

// Computes the given rows.
using SoftmaxKernel = void(const SoftmaxArgs& args, Range rows);

#define PYQRT_KERNEL(name, isa) SoftmaxKernel softmax_##name;
#include "ops/softmax/kernels.inc"
#undef PYQRT_KERNEL

inline constexpr std::array kSoftmaxKernels{
#define PYQRT_KERNEL(name, isa) Kernel<SoftmaxKernel>{Isa::isa, softmax_##name},
#include "ops/softmax/kernels.inc"
#undef PYQRT_KERNEL
};

}  // namespace pyqrt
