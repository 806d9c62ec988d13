#include "fixed/fixed.h"
#include "ops/embedding/embedding.h"

namespace pyqrt {

void embedding_reference(const EmbeddingArgs& args, Range rows) {
  for (int64_t i = rows.begin; i < rows.end; ++i) {
    int16_t* output = args.output + i * args.output_stride;
    for (int64_t c = 0; c < args.width; ++c) {
      const int32_t sum = embedding_sum(args, i, c);
      output[c] = static_cast<int16_t>(fixed::sat16(fixed::rshr(sum, args.shift)));
    }
  }
}

}  // namespace pyqrt
