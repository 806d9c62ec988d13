// embedding: the sum of int8 table rows, each row with its own scale, as the int16 stream.
//
// Reals:     out = sum_t table_t[index_t]
// Integers:  out[i,c] = sat16(rshr(sum_t table_t[index_t[i], c] * multiplier_t[index_t[i]], shift))
//
// Ranges: 1 to 4 tables; entries in [-127, 127]; multiplier in [0, 32767]; shift in [1, 30];
//   the sum is below 4 * 127 * 32767 < 2^24. Indices are checked by the caller: a kernel trusts
//   them. Nothing beyond the width is read or written.
#pragma once

#include <array>

#include "base/dispatch.h"
#include "base/types.h"

namespace pyqrt {

inline constexpr int kMaxEmbeddingTables = 4;

struct EmbeddingTable {
  const int8_t* data = nullptr;         // [entries, width], dense
  const int16_t* multiplier = nullptr;  // [entries]
  const int32_t* index = nullptr;       // [rows]
};

struct EmbeddingArgs {
  int64_t width = 0;
  int tables = 0;
  EmbeddingTable table[kMaxEmbeddingTables];
  int shift = 1;
  int16_t* output = nullptr;  // [rows, width]
  int64_t output_stride = 0;
};

// The sum of row i and column c, before the shift.
constexpr int32_t embedding_sum(const EmbeddingArgs& args, int64_t i, int64_t c) {
  int32_t sum = 0;
  for (int t = 0; t < args.tables; ++t) {
    const EmbeddingTable& table = args.table[t];
    const int64_t entry = table.index[i];
    sum += table.data[entry * args.width + c] * table.multiplier[entry];
  }
  return sum;
}

using EmbeddingKernel = void(const EmbeddingArgs& args, Range rows);

#define PYQRT_KERNEL(name, isa) EmbeddingKernel embedding_##name;
#include "ops/embedding/kernels.inc"
#undef PYQRT_KERNEL

inline constexpr std::array kEmbeddingKernels{
#define PYQRT_KERNEL(name, isa) Kernel<EmbeddingKernel>{Isa::isa, embedding_##name},
#include "ops/embedding/kernels.inc"
#undef PYQRT_KERNEL
};

}  // namespace pyqrt
