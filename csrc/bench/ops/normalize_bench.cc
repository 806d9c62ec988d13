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
  for (auto _ : state) {
    kernel.run(args, Range{0, rows});
    benchmark::ClobberMemory();
  }
  count_rows(state, rows);
}

const bool registered = for_shapes([](const Encoder& encoder, int64_t rows) {
  register_variants(
      "normalize", encoder.name, rows, kNormalizeKernels,
      [encoder, rows](benchmark::State& state, const Kernel<NormalizeKernel>& kernel) {
        measure(state, kernel, encoder, rows);
      });
});

}  // namespace
}  // namespace pyqrt::bench
