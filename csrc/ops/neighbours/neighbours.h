// neighbours: every token's row beside those of the tokens around it, so that a linear layer on the
// result is a convolution over the sequence.
//
// out[i, b * width + c] = x[i + r - b, c], b in [0, 2 r]; 0 where token i + r - b is not of the
// sequence. The first block is the last token that is seen, the last block the first.
//
// No arithmetic: copies. r in [1, 16]; offsets: [sequences + 1]. The output does not alias the
// input; nothing outside the rows of the sequences and the widths is read or written.
//
// The reference copies rows by memcpy, and that is all there is to gain: with 128 tokens of width
// 128 (MobileBERT's) it takes 1.07 times as long as one memcpy of the whole output, of width 192
// 1.03 times.
#pragma once

#include <array>

#include "base/dispatch.h"
#include "base/types.h"

namespace pyqrt {

struct NeighboursArgs {
  int64_t width = 0;
  int64_t reach = 1;               // r
  const int16_t* input = nullptr;  // [tokens, width]
  int64_t input_stride = 0;
  const int32_t* offsets = nullptr;
  int16_t* output = nullptr;  // [tokens, (2 r + 1) width]
  int64_t output_stride = 0;
};

inline constexpr int64_t kNeighboursMaxReach = 16;

using NeighboursKernel = void(const NeighboursArgs& args, Range sequences);

#define PYQRT_KERNEL(name, isa) NeighboursKernel neighbours_##name;
#include "ops/neighbours/kernels.inc"
#undef PYQRT_KERNEL

inline constexpr std::array kNeighboursKernels{
#define PYQRT_KERNEL(name, isa) Kernel<NeighboursKernel>{Isa::isa, neighbours_##name},
#include "ops/neighbours/kernels.inc"
#undef PYQRT_KERNEL
};

}  // namespace pyqrt
