// pool: one row per sequence from the rows of its tokens, at the same scale.
//
// kFirst, kLast: out = row of that token        kMean: out[c] = rounded_mean(sum_i x[i,c], n)
// kMax: out[c] = max_i x[i,c]                   kToken: out = row of the first token whose id is
//                                               `token`, of the first token if none is
// An empty sequence gives zeros. |sum| <= 32767 * 65536 < 2^31, n <= 65536.
// offsets: [sequences + 1]; nothing outside the rows and the width is read or written.
#pragma once

#include <array>

#include "base/dispatch.h"
#include "base/types.h"

namespace pyqrt {

enum class PoolKind : uint8_t { kFirst, kMean, kMax, kLast, kToken };

struct PoolArgs {
  PoolKind kind = PoolKind::kFirst;
  int64_t width = 0;
  const int16_t* input = nullptr;  // [tokens, width]
  int64_t input_stride = 0;
  const int32_t* offsets = nullptr;
  const int32_t* ids = nullptr;  // [tokens], for kToken
  int32_t token = 0;             // the same
  int16_t* output = nullptr;     // [sequences, width]
  int64_t output_stride = 0;
};

// The input's row that kFirst, kLast and kToken take of a sequence that is not empty.
constexpr int64_t pool_row(const PoolArgs& args, int64_t sequence) {
  const int64_t begin = args.offsets[sequence];
  const int64_t end = args.offsets[sequence + 1];
  if (args.kind == PoolKind::kLast) return end - 1;
  if (args.kind == PoolKind::kToken) {
    const int64_t place = place_of(args.token, args.ids + begin, end - begin);
    if (place < end - begin) return begin + place;
  }
  return begin;
}

using PoolKernel = void(const PoolArgs& args, Range sequences);

#define PYQRT_KERNEL(name, isa) PoolKernel pool_##name;
#include "ops/pool/kernels.inc"
#undef PYQRT_KERNEL

inline constexpr std::array kPoolKernels{
#define PYQRT_KERNEL(name, isa) Kernel<PoolKernel>{Isa::isa, pool_##name},
#include "ops/pool/kernels.inc"
#undef PYQRT_KERNEL
};

}  // namespace pyqrt
