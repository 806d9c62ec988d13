#include "cuda/kernels.h"
#include "cuda/neighbours.h"
#include "cuda/rows.h"
#include "fixed/fixed.h"

namespace pyqrt::cuda {
namespace {

PYQRT_GLOBAL void embedding_kernel(RowArguments<EmbeddingArgs> arguments) {
  const EmbeddingArgs& args = arguments.op;
  for_rows(arguments, [&](int64_t row, int lane) {
    int64_t entry[kMaxEmbeddingTables] = {};
    int32_t multiplier[kMaxEmbeddingTables] = {};
    PYQRT_UNROLL
    for (int t = 0; t < kMaxEmbeddingTables; ++t) {
      if (t < args.tables) entry[t] = args.table[t].index[row];
    }
    PYQRT_UNROLL
    for (int t = 0; t < kMaxEmbeddingTables; ++t) {
      if (t < args.tables) multiplier[t] = args.table[t].multiplier[entry[t]];
    }
    for (int64_t column = 8 * lane; column < args.width; column += 8 * kWarp) {
      const int count = args.width - column < 8 ? static_cast<int>(args.width - column) : 8;
      int32_t sum[8] = {};
      PYQRT_UNROLL
      for (int t = 0; t < kMaxEmbeddingTables; ++t) {
        if (t >= args.tables) continue;
        int32_t value[8];
        load_neighbours(value, args.table[t].data + entry[t] * args.width + column, count);
        PYQRT_UNROLL
        for (int i = 0; i < 8; ++i) sum[i] += value[i] * multiplier[t];
      }
      PYQRT_UNROLL
      for (int i = 0; i < 8; ++i) sum[i] = fixed::sat16(fixed::rshr(sum[i], args.shift));
      store_neighbours(args.output + row * args.output_stride + column, sum, count);
    }
  });
}

}  // namespace

void launch_embedding(const EmbeddingArgs& args, int64_t rows, const int32_t* live_rows,
                      Stream& stream) {
  launch_rows(embedding_kernel, args, rows, live_rows, stream);
}

}  // namespace pyqrt::cuda
