// Rows as wide as the intermediate layer.
#include "bench/ops/harness.h"
#include "ops/gelu/gelu.h"

namespace pyqrt::bench {
namespace {

void measure(benchmark::State& state, const Kernel<GeluKernel>& kernel, const Encoder& encoder,
             int64_t rows) {
  GeluArgs args;
  args.n = args.input_stride = args.output_stride = encoder.intermediate;
  const auto input = random_values<int16_t>(rows * args.n, -32767, 32767);
  const auto multiplier = random_values<int16_t>(args.n, 1000, 32767);
  auto output = filled<int8_t>(rows * args.n, 0);
  args.input = input.data();
  args.multiplier = multiplier.data();
  args.shift = 18;
  args.output = output.data();
  time_rows(state, rows, [&] { kernel.run(args, Range{0, rows}); });
}

const bool registered = register_op("gelu", kGeluKernels, measure);

}  // namespace
}  // namespace pyqrt::bench
