#include "fixed/fixed.h"
#include "ops/embedding/embedding.h"

namespace pyqrt {

void embedding_reference(const EmbeddingArgs& args, Range rows) {
  for (int64_t i = rows.begin; i < rows.end; ++i) {
    int16_t* output = args.output + i * args.output_stride;
    for (int64_t c = 0; c < args.width; ++c) {
      int32_t sum = 0;
      for (int t = 0; t < args.tables; ++t) {
        const EmbeddingTable& table = args.table[t];
        const int64_t entry = table.index[i];
        sum += table.data[entry * args.width + c] * table.multiplier[entry];
      }
      output[c] = static_cast<int16_t>(fixed::sat16(fixed::rshr(sum, args.shift)));
    }
  }
}

}  // namespace pyqrt
