// Rows a quarter as wide as the layers, as narrow embeddings have them, of one sequence.
#include "bench/ops/harness.h"
#include "ops/neighbours/neighbours.h"

namespace pyqrt::bench {
namespace {

void measure(benchmark::State& state, const Kernel<NeighboursKernel>& kernel,
             const Encoder& encoder, int64_t rows) {
  NeighboursArgs args;
  args.width = args.input_stride = encoder.hidden / 4;
  args.output_stride = 3 * args.width;
  const auto input = random_values<int16_t>(rows * args.width, -32767, 32767);
  const std::vector<int32_t> offsets{0, static_cast<int32_t>(rows)};
  auto output = filled<int16_t>(rows * args.output_stride, 0);
  args.input = input.data();
  args.offsets = offsets.data();
  args.output = output.data();
  time_rows(state, rows, [&] { kernel.run(args, Range{0, 1}); });
}

const bool registered = register_op("neighbours", kNeighboursKernels, measure);

}  // namespace
}  // namespace pyqrt::bench
