#include "cuda/kernels.h"
#include "cuda/rows.h"

namespace pyqrt::cuda {
namespace {

PYQRT_GLOBAL void neighbours_kernel(RowArguments<OfSequences<NeighboursArgs>> arguments) {
  const NeighboursArgs& args = arguments.op.op;
  for_rows(arguments, [&](int64_t row, int lane) {
    const int64_t sequence = sequence_of(arguments.op, row);
    const int64_t first = args.offsets[sequence];
    const int64_t end = args.offsets[sequence + 1];
    int16_t* output = args.output + row * args.output_stride;
    for (int64_t from = row + args.reach; from >= row - args.reach; --from) {
      const bool exists = from >= first && from < end;
      const int16_t* input = args.input + from * args.input_stride;
      for (int64_t c = lane; c < args.width; c += kWarp) {
        output[c] = exists ? input[c] : static_cast<int16_t>(0);
      }
      output += args.width;
    }
  });
}

}  // namespace

void launch_neighbours(const NeighboursArgs& args, int64_t rows, int64_t sequences,
                       const int32_t* live_rows, Stream& stream) {
  launch_rows(neighbours_kernel, OfSequences<NeighboursArgs>{args, sequences}, rows, live_rows,
              stream);
}

}  // namespace pyqrt::cuda
