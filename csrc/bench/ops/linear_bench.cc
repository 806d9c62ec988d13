// The four matrix products of a transformer layer, each with the epilogue it has there.
#include <cmath>

#include "bench/ops/harness.h"
#include "ops/linear/linear.h"
#include "ops/linear/linear_paired.h"

namespace pyqrt::bench {
namespace {

// As a trained matrix has them after quantization: bell-shaped, the largest of a channel's k at
// 127.
Array<int8_t> bell_shaped(int64_t count, int64_t k) {
  const double deviation = 127 / std::sqrt(2 * std::log(static_cast<double>(k)));
  std::minstd_rand random(1);
  std::normal_distribution<double> draw(0, deviation);
  Array<int8_t> values = filled<int8_t>(count, 0);
  for (int8_t& value : values) {
    value = static_cast<int8_t>(std::clamp(std::round(draw(random)), -127.0, 127.0));
  }
  return values;
}

struct Layer {
  const char* name;
  int64_t k;
  int64_t n;
  LinearEpilogue epilogue;
};

void measure(benchmark::State& state, const Kernel<LinearKernel>& kernel, const Layer& layer,
             int64_t rows) {
  LinearArgs args;
  args.m = rows;
  args.k = args.input_stride = layer.k;
  args.n = args.output_stride = args.residual_stride = layer.n;
  args.epilogue = layer.epilogue;
  const int64_t padded = round_up(args.n, 2 * kLinearBlock);
  const auto input = random_values<int8_t>(args.m * args.k, -127, 127);
  const auto weight = bell_shaped(padded * round_up(args.k, kLinearGroup), args.k);
  auto weight_sum = filled<int32_t>(padded, 0);
  const int64_t block_bytes = kLinearBlock * round_up(args.k, kLinearGroup);
  for (std::size_t i = 0; i < weight.size(); ++i) {
    const auto at = static_cast<int64_t>(i);
    const int64_t lane = at / kLinearGroup % kLinearBlock;
    weight_sum[static_cast<std::size_t>(at / block_bytes * kLinearBlock + lane)] += weight[i];
  }
  const auto bias = random_values<int32_t>(padded, -1000, 1000);
  const auto multiplier = random_values<int32_t>(padded, 1 << 30, (int64_t{1} << 31) - 1);
  const auto shift = filled<int32_t>(padded, 44);
  const auto gelu_multiplier = random_values<int16_t>(padded, 1000, 32767);
  const auto residual = random_values<int16_t>(args.m * args.n, -32767, 32767);
  auto output = filled<int32_t>(args.m * args.n, 0);
  auto scratch = filled<uint8_t>(static_cast<int64_t>(linear_scratch_bytes(args.k)), 0);
  args.input = input.data();
  args.weight = weight.data();
  args.weight_sum = weight_sum.data();
  args.bias = bias.data();
  args.multiplier = multiplier.data();
  args.shift = shift.data();
  args.gelu_multiplier = gelu_multiplier.data();
  args.gelu_shift = 18;
  args.residual = residual.data();
  args.residual_multiplier = 16384;
  args.residual_shift = 14;
  args.output = output.data();
  const auto paired = pair_weight(kernel.isa, args);
  args.paired = paired.get();
  time_rows(state, args.m, [&] {
    kernel.run(args, Range{0, args.m}, Range{0, ceil_div(args.n, kLinearBlock)}, scratch.data());
  });
  count_macs(state, kernel.isa, args.m * args.k * args.n);
}

const bool registered = for_shapes([](const Encoder& e, int64_t rows) {
  for (const Layer& layer :
       {Layer{"query_key_value", e.hidden, 3 * e.hidden, LinearEpilogue::kRequantizeS8},
        Layer{"attention_output", e.hidden, e.hidden, LinearEpilogue::kResidualS16},
        Layer{"intermediate", e.hidden, e.intermediate, LinearEpilogue::kGeluS8},
        Layer{"output", e.intermediate, e.hidden, LinearEpilogue::kResidualS16}}) {
    register_variants("linear", std::string(e.name) + "." + layer.name, rows, kLinearKernels,
                      [layer, rows](benchmark::State& state, const Kernel<LinearKernel>& kernel) {
                        measure(state, kernel, layer, rows);
                      });
  }
});

}  // namespace
}  // namespace pyqrt::bench
