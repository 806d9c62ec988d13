// All heads of one sequence; query, key and value are columns of one buffer, as a plan has them.
#include "bench/ops/harness.h"
#include "ops/attention/attention.h"

namespace pyqrt::bench {
namespace {

void measure(benchmark::State& state, const Kernel<AttentionKernel>& kernel, const Encoder& encoder,
             int64_t tokens) {
  const auto input = random_values<int8_t>(tokens * 3 * encoder.hidden, -127, 127);
  auto output = filled<int8_t>(tokens * encoder.hidden, 0);
  const int32_t offsets[] = {0, static_cast<int32_t>(tokens)};
  const auto score_multiplier = filled<uint32_t>(encoder.heads, 40000);
  const auto output_multiplier = filled<int32_t>(encoder.heads, 9000);
  const auto output_exponent = filled<int32_t>(encoder.heads, 14);
  auto scratch =
      filled<uint8_t>(static_cast<int64_t>(attention_scratch_bytes(tokens, encoder.head_dim)), 0);
  AttentionArgs args;
  args.query = input.data();
  args.key = args.query + encoder.hidden;
  args.value = args.key + encoder.hidden;
  args.query_stride = args.key_stride = args.value_stride = 3 * encoder.hidden;
  args.offsets = offsets;
  args.heads = encoder.heads;
  args.head_dim = encoder.head_dim;
  args.score_multiplier = score_multiplier.data();
  args.output_multiplier = output_multiplier.data();
  args.output_exponent = output_exponent.data();
  args.output = output.data();
  args.output_stride = encoder.hidden;
  time_rows(state, tokens, [&] { kernel.run(args, Range{0, args.heads}, tokens, scratch.data()); });
  count_macs(state, kernel.isa, 2 * tokens * tokens * encoder.hidden);  // QK and PV, each once
}

const bool registered = register_op("attention", kAttentionKernels, measure);

}  // namespace
}  // namespace pyqrt::bench
