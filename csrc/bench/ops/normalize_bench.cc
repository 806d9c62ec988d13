// Rows as wide as the hidden layer.
#include "bench/ops/harness.h"
#include "ops/normalize/normalize.h"

namespace pyqrt::bench {
namespace {

void measure(benchmark::State& state, const Kernel<NormalizeKernel>& kernel, const Encoder& encoder,
             int64_t rows) {
  NormalizeArgs args;
  args.width = args.input_stride = args.output_stride = encoder.hidden;
  const auto input = random_values<int16_t>(rows * args.width, -32767, 32767);
  Array<int32_t> output(input.size());
  args.input = input.data();
  args.output = output.data();
  time_rows(state, rows, [&] { kernel.run(args, Range{0, rows}); });
}

const bool registered = register_op("normalize", kNormalizeKernels, measure);

}  // namespace
}  // namespace pyqrt::bench
