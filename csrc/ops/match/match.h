// match: the product of every token's row with one row of its sequence, as where the question's
// row is held against every token's (Ram et al. 2021, arXiv 2101.00438).
//
// Reals:     out[i] = sum_c token[i,c] * row[s,c],  s the sequence of token i
// Integers:  out[i] = rshr64(sum_c token[i,c] * row[s,c], shift)
// scale_out = scale_token * scale_row * 2^shift.
//
// Ranges: token, row in [-32767, 32767]; shift in [1, 16]; width <= 2^shift, so that
//   |sum| < 2^(30 + shift) <= 2^46 and |out| <= 2^30.
//
// offsets: [sequences + 1]. Nothing outside the rows of the sequences and the width is read or
// written. A model has two such products, each a hundred-thousandth of its multiply-accumulates.
#pragma once

#include <array>

#include "base/dispatch.h"
#include "base/types.h"

namespace pyqrt {

struct MatchArgs {
  int64_t width = 0;
  const int16_t* token = nullptr;  // [tokens, width]
  int64_t token_stride = 0;
  const int16_t* row = nullptr;  // [sequences, width]
  int64_t row_stride = 0;
  const int32_t* offsets = nullptr;
  int shift = 1;
  int32_t* output = nullptr;  // a column of [tokens, any]
  int64_t output_stride = 0;
};

inline constexpr int kMatchMaxShift = 16;

using MatchKernel = void(const MatchArgs& args, Range sequences);

#define PYQRT_KERNEL(name, isa) MatchKernel match_##name;
#include "ops/match/kernels.inc"
#undef PYQRT_KERNEL

inline constexpr std::array kMatchKernels{
#define PYQRT_KERNEL(name, isa) Kernel<MatchKernel>{Isa::isa, match_##name},
#include "ops/match/kernels.inc"
#undef PYQRT_KERNEL
};

}  // namespace pyqrt
