// Rows as wide as the hidden layer.
#include "bench/ops/harness.h"
#include "ops/lookup/lookup.h"

namespace pyqrt::bench {
namespace {

void measure(benchmark::State& state, const Kernel<LookupKernel>& kernel, const Encoder& encoder,
             int64_t rows) {
  LookupArgs args;
  args.width = args.input_stride = args.output_stride = encoder.hidden;
  const auto input = random_values<int16_t>(rows * args.width, -32767, 32767);
  const auto table = random_values<int16_t>(kLookupEntries, -32767, 32767);
  Array<int16_t> output(input.size());
  args.input = input.data();
  args.table = table.data();
  args.output = output.data();
  for (auto _ : state) {
    kernel.run(args, Range{0, rows});
    benchmark::ClobberMemory();
  }
  count_rows(state, rows);
}

const bool registered = for_shapes([](const Encoder& encoder, int64_t rows) {
  register_variants("lookup", encoder.name, rows, kLookupKernels,
                    [encoder, rows](benchmark::State& state, const Kernel<LookupKernel>& kernel) {
                      measure(state, kernel, encoder, rows);
                    });
});

}  // namespace
}  // namespace pyqrt::bench
