#include "ops/match/match.h"

#include <vector>

#include "fixed/fixed.h"
#include "plan/node.h"
#include "plan/node_reader.h"

namespace pyqrt {
namespace {

// Column p of the output is the product of inputs 2 p, of tokens, and 2 p + 1, of sequences.
class Match final : public Node {
 public:
  explicit Match(const NodeReader& reader) : kernel_(select_kernel(kMatchKernels, reader.isa())) {
    constexpr std::size_t kMaxInputs = 16;
    if (reader.inputs() < 2 || reader.inputs() % 2 != 0 || reader.inputs() > kMaxInputs) {
      reader.fail("it takes pairs of inputs, one to eight");
    }
    reader.expect_buffers(reader.inputs(), 1);
    args_.width = reader.input_spec(0).width;
    for (std::size_t place = 0; place < reader.inputs(); ++place) {
      const bool tokens = place % 2 == 0;
      reader.expect_buffer(reader.input_spec(place), tokens ? "the tokens" : "the sequences' rows",
                           DataType::kS16, tokens ? Rows::kTokens : Rows::kSequences, args_.width);
      inputs_.push_back(reader.input(place));
    }
    output_ = reader.output(0);
    reader.expect_buffer(reader.output_spec(0), "the output", DataType::kS32, Rows::kTokens,
                         static_cast<int64_t>(inputs_.size() / 2));
    args_.shift = static_cast<int>(reader.integer("shift", 1, kMatchMaxShift));
    if (args_.width > int64_t{1} << args_.shift) {
      reader.fail("'shift' is " + std::to_string(args_.shift) + ", too little for a width of " +
                  std::to_string(args_.width));
    }
    report.variant = kernel_.isa;
    report.budget_bits = 64;
    report.widest_bits = fixed::bit_length(uint64_t{fixed::kMaxS16} * fixed::kMaxS16 *
                                           static_cast<uint64_t>(args_.width)) +
                         1;
  }

  // A token reads its sequence's row.
  Items items() const override { return Items::kHeads; }
  int64_t count(const Batch& batch) const override { return batch.sequences; }

  void run(const Context& context, Range items, Range, int) const override {
    for (std::size_t pair = 0; pair < inputs_.size() / 2; ++pair) {
      kernel_.run(bind(context, pair), items);
    }
  }

  void run_on(Executor& executor, const Context& context) const override {
    for (std::size_t pair = 0; pair < inputs_.size() / 2; ++pair) {
      executor.match(bind(context, pair));
    }
  }

 private:
  MatchArgs bind(const Context& context, std::size_t pair) const {
    MatchArgs args = args_;
    const BufferView& token = context.buffers[inputs_[2 * pair]];
    const BufferView& row = context.buffers[inputs_[2 * pair + 1]];
    args.token = token.as<const int16_t>();
    args.token_stride = token.stride;
    args.row = row.as<const int16_t>();
    args.row_stride = row.stride;
    args.offsets = context.batch.offsets;
    args.output = context.buffers[output_].as<int32_t>() + pair;
    args.output_stride = context.buffers[output_].stride;
    return args;
  }

  const Kernel<MatchKernel>& kernel_;
  MatchArgs args_;
  std::vector<int> inputs_;
  int output_ = -1;
};

}  // namespace

std::unique_ptr<Node> make_match(const NodeReader& reader) {
  return std::make_unique<Match>(reader);
}

}  // namespace pyqrt
