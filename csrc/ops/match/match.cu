#include "cuda/kernels.h"
#include "cuda/rows.h"
#include "fixed/fixed.h"

namespace pyqrt::cuda {
namespace {

PYQRT_GLOBAL void match_kernel(RowArguments<OfSequences<MatchArgs>> arguments) {
  const MatchArgs& args = arguments.op.op;
  for_rows(arguments, [&](int64_t i, int lane) {
    const int64_t sequence = sequence_of(arguments.op, i);
    const int16_t* token = args.token + i * args.token_stride;
    const int16_t* row = args.row + sequence * args.row_stride;
    int64_t sum = 0;
    for (int64_t c = lane; c < args.width; c += kWarp) sum += int32_t{token[c]} * row[c];
    sum = reduce_sum<kWarp>(sum);
    if (lane == 0) {
      args.output[i * args.output_stride] = static_cast<int32_t>(fixed::rshr64(sum, args.shift));
    }
  });
}

}  // namespace

void launch_match(const MatchArgs& args, int64_t rows, int64_t sequences, const int32_t* live_rows,
                  Stream& stream) {
  launch_rows(match_kernel, OfSequences<MatchArgs>{args, sequences}, rows, live_rows, stream);
}

}  // namespace pyqrt::cuda
