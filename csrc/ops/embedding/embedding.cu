#include "cuda/kernels.h"
#include "cuda/rows.h"
#include "fixed/fixed.h"

namespace pyqrt::cuda {
namespace {

PYQRT_GLOBAL void embedding_kernel(RowArguments<EmbeddingArgs> arguments) {
  const EmbeddingArgs& args = arguments.op;
  for_row(arguments, [&](int64_t row, int lane) {
    int16_t* output = args.output + row * args.output_stride;
    for (int64_t c = lane; c < args.width; c += kWarp) {
      const int32_t sum = embedding_sum(args, row, c);
      output[c] = static_cast<int16_t>(fixed::sat16(fixed::rshr(sum, args.shift)));
    }
  });
}

}  // namespace

void launch_embedding(const EmbeddingArgs& args, int64_t rows, const int32_t* live_rows,
                      Stream& stream) {
  launch_rows(embedding_kernel, args, rows, live_rows, stream);
}

}  // namespace pyqrt::cuda
