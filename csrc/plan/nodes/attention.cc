#include "ops/attention/attention.h"

#include <algorithm>
#include <string>

#include "fixed/fixed.h"
#include "plan/node.h"
#include "plan/node_reader.h"

namespace pyqrt {
namespace {

class Attention final : public Node {
 public:
  explicit Attention(const NodeReader& reader)
      : kernel_(select_kernel(kAttentionKernels, reader.isa())) {
    reader.expect_buffers(std::clamp<std::size_t>(reader.inputs(), 1, 3), 1);
    args_.heads = reader.integer("num_heads", 1, 4096);
    args_.head_dim = reader.integer("head_dim", 1, kAttentionMaxHeadDim);
    width_ = args_.heads * args_.head_dim;
    input_ = reader.input(0);
    output_ = reader.output(0);
    if (reader.inputs() == 2) {
      values_ = reader.input(1);
      reader.expect_buffer(reader.input_spec(1), "the values", DataType::kS8, Rows::kTokens,
                           width_);
    }
    reader.expect_buffer(reader.input_spec(0), "the input", DataType::kS8, Rows::kTokens,
                         (values_ < 0 ? 3 : 2) * width_);
    reader.expect_buffer(reader.output_spec(0), "the output", DataType::kS8, Rows::kTokens, width_);
    args_.zero_point =
        static_cast<int32_t>(reader.integer("zero_point", -fixed::kMaxS8, fixed::kMaxS8));
    read_multipliers(reader, "", args_);
    args_.exponential = reader.polynomial(fixed::exp_polynomial);
    args_.window = reader.integer("window", 0, 65536, -1);
    if (reader.inputs() == 3) {
      globals_ = args_;
      read_globals(reader);
    } else if (args_.window < 0) {
      read_block(reader);
    }
    if (reader.has("relative_index")) read_relative(reader);
    // The widest integer is the combined context sum A >> e times the reciprocal: 62 bits of 64.
    report.variant = kernel_.isa;
    report.budget_bits = 64;
    report.widest_bits = 63;
  }

  Items items() const override { return Items::kHeads; }

  int64_t count(const Batch& batch) const override { return batch.sequences * args_.heads; }

  void run(const Context& context, Range items, Range, int worker) const override {
    const auto run_kernel = [&](const AttentionArgs& args) {
      kernel_.run(args, items, context.batch.max_length, context.worker_scratch(worker));
    };
    run_kernel(bind(context));
    if (args_.global_key) run_kernel(bind_globals(context));
  }

  void run_on(Executor& executor, const Context& context) const override {
    executor.attention(bind(context));
    if (args_.global_key) executor.attention(bind_globals(context));
  }

  std::size_t scratch_bytes(int64_t max_length) const override {
    return attention_scratch_bytes(max_length, args_.head_dim, args_.relative_rows);
  }

  void verify() const override {
    for (const int8_t* table : {args_.relative_key, args_.relative_query}) {
      for (int64_t i = 0; table != nullptr && i < args_.relative_rows * width_; ++i) {
        if (table[i] < -fixed::kMaxS8)
          throw Error("a relative table holds -128, outside [-127, 127]");
      }
    }
  }

 private:
  AttentionArgs bind(const Context& context) const {
    AttentionArgs args = args_;
    args.ids = context.batch.ids;
    const BufferView& input = context.buffers[input_];
    args.query = input.as<const int8_t>();
    args.key = args.query + width_;
    const BufferView& values = context.buffers[values_ < 0 ? input_ : values_];
    args.value = values_ < 0 ? args.key + width_ : values.as<const int8_t>();
    args.query_stride = args.key_stride = input.stride;
    args.value_stride = values.stride;
    args.offsets = context.batch.offsets;
    args.output = context.buffers[output_].as<int8_t>();
    args.output_stride = context.buffers[output_].stride;
    return args;
  }

  // The global tokens' own attention, which then takes the place of what they have as all others.
  AttentionArgs bind_globals(const Context& context) const {
    AttentionArgs args = globals_;
    args.ids = context.batch.ids;
    const BufferView& keys = context.buffers[global_keys_];
    args.query = context.buffers[global_query_].as<const int8_t>();
    args.key = keys.as<const int8_t>();
    args.value = args.key + width_;
    args.query_stride = context.buffers[global_query_].stride;
    args.key_stride = args.value_stride = keys.stride;
    args.offsets = context.batch.offsets;
    args.output = context.buffers[output_].as<int8_t>();
    args.output_stride = context.buffers[output_].stride;
    return args;
  }

  static void read_multipliers(const NodeReader& reader, const std::string& prefix,
                               AttentionArgs& args) {
    static_assert(sizeof(uint32_t) == sizeof(int32_t));
    args.score_multiplier = reinterpret_cast<const uint32_t*>(
        reader.array32(prefix + "score_multiplier", args.heads, 1, INT32_MAX));
    args.output_multiplier =
        reader.array32(prefix + "output_multiplier", args.heads, 1 << 13, (1 << 14) - 1);
    args.output_exponent = reader.array32(prefix + "output_exponent", args.heads,
                                          kAttentionMinExponent, kAttentionMaxExponent);
  }

  void read_globals(const NodeReader& reader) {
    global_keys_ = reader.input(1);
    global_query_ = reader.input(2);
    reader.expect_buffer(reader.input_spec(1), "the global tokens' keys and values", DataType::kS8,
                         Rows::kTokens, 2 * width_);
    const int64_t last_id = reader.limits().vocab_size - 1;
    args_.until = static_cast<int32_t>(reader.integer("global_until", 0, last_id, -1));
    if (args_.until < 0)
      args_.after = static_cast<int32_t>(reader.integer("global_after", 0, last_id, -1));
    globals_.until = args_.until;
    globals_.after = args_.after;
    globals_.window = -1;
    globals_.global_query = true;
    args_.global_key = true;
    reader.expect_buffer(reader.input_spec(2), "the global tokens' queries", DataType::kS8,
                         args_.until < 0 && args_.after < 0 ? Rows::kSequences : Rows::kTokens,
                         width_);
    read_multipliers(reader, "global_", globals_);
  }

  void read_block(const NodeReader& reader) {
    args_.block = reader.integer("block", 0, 65536, 0);
    if (args_.block == 0) return;
    args_.block_beyond = reader.integer("block_beyond", 0, 65536);
    args_.block_bias = reader.array32("block_bias", args_.heads, -kMaxBias, kMaxBias);
  }

  void read_relative(const NodeReader& reader) {
    args_.relative_rows = reader.integer("relative_rows", 1, 65536);
    args_.relative_reach = reader.integer("relative_reach", 0, 65536);
    args_.relative_index =
        reader.array32("relative_index", 2 * args_.relative_reach + 1, 0, args_.relative_rows - 1);
    if (reader.has("relative_bias")) {
      args_.relative_bias =
          reader.array32("relative_bias", args_.heads * args_.relative_rows, -kMaxBias, kMaxBias);
    }
    if (reader.has("relative_key")) {
      args_.relative_key = reader.table("relative_key", args_.relative_rows, width_);
      report.weight_bytes += args_.relative_rows * width_;
    }
    if (reader.has("relative_query")) {
      args_.relative_query = reader.table("relative_query", args_.relative_rows, width_);
      report.weight_bytes += args_.relative_rows * width_;
    }
  }

  static constexpr int64_t kMaxBias = (int64_t{1} << 28) - 1;

  const Kernel<AttentionKernel>& kernel_;
  AttentionArgs args_;
  AttentionArgs globals_;  // of global tokens, if there are any
  int64_t width_ = 0;
  int input_ = -1;
  int values_ = -1;  // of their own, or beside queries and keys
  int global_keys_ = -1;
  int global_query_ = -1;
  int output_ = -1;
};

}  // namespace

std::unique_ptr<Node> make_attention(const NodeReader& reader) {
  return std::make_unique<Attention>(reader);
}

}  // namespace pyqrt
