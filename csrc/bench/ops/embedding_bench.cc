// A word, a position and a type for every row.
#include "bench/ops/harness.h"
#include "ops/embedding/embedding.h"

namespace pyqrt::bench {
namespace {

void measure(benchmark::State& state, const Kernel<EmbeddingKernel>& kernel, const Encoder& encoder,
             int64_t rows) {
  constexpr int64_t kPositions = 512;
  constexpr int64_t kTypes = 2;
  const int64_t entries[] = {encoder.vocabulary, kPositions, kTypes};
  Array<int8_t> table[3];
  Array<int16_t> multiplier[3];
  Array<int32_t> index[3];
  auto output = filled<int16_t>(rows * encoder.hidden, 0);
  EmbeddingArgs args;
  args.width = args.output_stride = encoder.hidden;
  args.tables = 3;
  args.shift = 10;
  for (std::size_t t = 0; t < 3; ++t) {
    table[t] = random_values<int8_t>(entries[t] * encoder.hidden, -127, 127);
    multiplier[t] = random_values<int16_t>(entries[t], 8000, 20000);
    index[t] = random_values<int32_t>(rows, 0, entries[t] - 1);
    args.table[t] = {table[t].data(), multiplier[t].data(), index[t].data()};
  }
  args.output = output.data();
  time_rows(state, rows, [&] { kernel.run(args, Range{0, rows}); });
}

const bool registered = register_op("embedding", kEmbeddingKernels, measure);

}  // namespace
}  // namespace pyqrt::bench
