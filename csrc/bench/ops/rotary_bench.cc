// Queries and keys of one sequence, every column turned.
#include "bench/ops/harness.h"
#include "ops/rotary/rotary.h"

namespace pyqrt::bench {
namespace {

void measure(benchmark::State& state, const Kernel<RotaryKernel>& kernel, const Encoder& encoder,
             int64_t rows) {
  RotaryArgs args;
  args.heads = 2 * encoder.heads;
  args.head_dim = args.rotated = encoder.head_dim;
  args.input_stride = args.output_stride = args.heads * args.head_dim;
  args.shift = 22;
  auto position = filled<int32_t>(rows, 0);
  for (int64_t i = 0; i < rows; ++i)
    position[static_cast<std::size_t>(i)] = static_cast<int32_t>(i);
  const auto cosine = random_values<int16_t>(rows * args.rotated / 2, -kRotaryOne, kRotaryOne);
  const auto sine = random_values<int16_t>(rows * args.rotated / 2, -kRotaryOne, kRotaryOne);
  const auto input = random_values<int16_t>(rows * args.input_stride, -32767, 32767);
  auto output = filled<int8_t>(rows * args.output_stride, 0);
  args.position = position.data();
  args.cosine = cosine.data();
  args.sine = sine.data();
  args.input = input.data();
  args.output = output.data();
  time_rows(state, rows, [&] { kernel.run(args, Range{0, rows}); });
}

const bool registered = register_op("rotary", kRotaryKernels, measure);

}  // namespace
}  // namespace pyqrt::bench
