// The row of one sequence against its tokens.
#include "bench/ops/harness.h"
#include "ops/match/match.h"

namespace pyqrt::bench {
namespace {

void measure(benchmark::State& state, const Kernel<MatchKernel>& kernel, const Encoder& encoder,
             int64_t rows) {
  const int32_t offsets[] = {0, static_cast<int32_t>(rows)};
  MatchArgs args;
  args.width = args.token_stride = args.row_stride = encoder.hidden;
  args.shift = kMatchMaxShift;
  args.output_stride = 1;
  const auto tokens = random_values<int16_t>(rows * args.width, -32767, 32767);
  const auto row = random_values<int16_t>(args.width, -32767, 32767);
  auto output = filled<int32_t>(rows, 0);
  args.token = tokens.data();
  args.row = row.data();
  args.offsets = offsets;
  args.output = output.data();
  time_rows(state, rows, [&] { kernel.run(args, Range{0, 1}); });
}

const bool registered = register_op("match", kMatchKernels, measure);

}  // namespace
}  // namespace pyqrt::bench
