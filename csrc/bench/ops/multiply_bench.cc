// Rows as wide as the intermediate layer, to int8.
#include "bench/ops/harness.h"
#include "ops/multiply/multiply.h"

namespace pyqrt::bench {
namespace {

void measure(benchmark::State& state, const Kernel<MultiplyKernel>& kernel, const Encoder& encoder,
             int64_t rows) {
  MultiplyArgs args;
  args.width = args.a_stride = args.b_stride = args.output_stride = encoder.intermediate;
  const auto a = random_values<int16_t>(rows * args.width, -32767, 32767);
  const auto b = random_values<int16_t>(rows * args.width, -32767, 32767);
  const auto multiplier = filled<int32_t>(args.width, 1 << 30);
  const auto shift = filled<int32_t>(args.width, 52);
  auto output = filled<int8_t>(rows * args.width, 0);
  args.a = a.data();
  args.b = b.data();
  args.multiplier = multiplier.data();
  args.shift = shift.data();
  args.output8 = output.data();
  time_rows(state, rows, [&] { kernel.run(args, Range{0, rows}); });
}

const bool registered = register_op("multiply", kMultiplyKernels, measure);

}  // namespace
}  // namespace pyqrt::bench
