// Both outputs, as between two layers.
#include "bench/ops/harness.h"
#include "ops/layernorm/layernorm.h"

namespace pyqrt::bench {
namespace {

void measure(benchmark::State& state, const Kernel<LayerNormKernel>& kernel, const Encoder& encoder,
             int64_t rows) {
  LayerNormArgs args;
  args.n = args.input_stride = encoder.hidden;
  args.epsilon = 5;
  const auto input = random_values<int16_t>(rows * args.n, -32767, 32767);
  const auto gain = random_values<int16_t>(args.n, 1000, 16000);
  const auto bias = random_values<int32_t>(args.n, -10000, 10000);
  auto output8 = filled<int8_t>(rows * args.n, 0);
  auto output16 = filled<int16_t>(rows * args.n, 0);
  args.input = input.data();
  args.output8 = {output8.data(), args.n, gain.data(), bias.data(), 18};
  args.output16 = {output16.data(), args.n, gain.data(), bias.data(), 12};
  time_rows(state, rows, [&] { kernel.run(args, Range{0, rows}); });
}

const bool registered = register_op("layernorm", kLayerNormKernels, measure);

}  // namespace
}  // namespace pyqrt::bench
