// The mean of one sequence; rows are its tokens.
#include "bench/ops/harness.h"
#include "ops/pool/pool.h"

namespace pyqrt::bench {
namespace {

void measure(benchmark::State& state, const Kernel<PoolKernel>& kernel, const Encoder& encoder,
             int64_t rows) {
  const int32_t offsets[] = {0, static_cast<int32_t>(rows)};
  PoolArgs args;
  args.kind = PoolKind::kMean;
  args.width = args.input_stride = args.output_stride = encoder.hidden;
  const auto input = random_values<int16_t>(rows * args.width, -32767, 32767);
  auto output = filled<int16_t>(args.width, 0);
  args.input = input.data();
  args.offsets = offsets;
  args.output = output.data();
  time_rows(state, rows, [&] { kernel.run(args, Range{0, 1}); });
}

const bool registered = register_op("pool", kPoolKernels, measure);

}  // namespace
}  // namespace pyqrt::bench
