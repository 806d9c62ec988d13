#include "ops/pool/pool.h"

#include <algorithm>
#include <array>
#include <string_view>
#include <utility>

#include "fixed/fixed.h"
#include "plan/node.h"
#include "plan/node_reader.h"

namespace pyqrt {
namespace {

constexpr std::array<std::pair<std::string_view, PoolKind>, 5> kKinds{{
    {"first", PoolKind::kFirst},
    {"last", PoolKind::kLast},
    {"mean", PoolKind::kMean},
    {"max", PoolKind::kMax},
    {"token", PoolKind::kToken},
}};

class Pool final : public Node {
 public:
  explicit Pool(const NodeReader& reader) : kernel_(select_kernel(kPoolKernels, reader.isa())) {
    reader.expect_buffers(1, 1);
    args_.width = reader.input_spec(0).width;
    input_ = reader.input(0);
    output_ = reader.output(0);
    reader.expect_buffer(reader.input_spec(0), "the input", DataType::kS16, Rows::kTokens,
                         args_.width);
    reader.expect_buffer(reader.output_spec(0), "the output", DataType::kS16, Rows::kSequences,
                         args_.width);
    const std::string kind = reader.text("kind");
    const auto* found = std::find_if(kKinds.begin(), kKinds.end(),
                                     [&](const auto& known) { return known.first == kind; });
    if (found == kKinds.end()) {
      reader.fail("unknown kind '" + kind + "'; known: first, last, mean, max, token");
    }
    args_.kind = found->second;
    if (args_.kind == PoolKind::kToken) {
      args_.token =
          static_cast<int32_t>(reader.integer("token", 0, reader.limits().vocab_size - 1));
    }
    report.variant = kernel_.isa;
    const int64_t count = args_.kind == PoolKind::kMean ? reader.limits().max_length : 1;
    report.widest_bits = fixed::bit_length(static_cast<uint64_t>(count) * fixed::kMaxS16) + 1;
  }

  Items items() const override { return Items::kSequences; }

  void run(const Context& context, Range items, Range, int) const override {
    const PoolArgs args = bind(context);
    kernel_.run(args, items);
  }

  void run_on(Executor& executor, const Context& context) const override {
    executor.pool(bind(context));
  }

 private:
  PoolArgs bind(const Context& context) const {
    PoolArgs args = args_;
    args.input = context.buffers[input_].as<const int16_t>();
    args.input_stride = context.buffers[input_].stride;
    args.offsets = context.batch.offsets;
    args.ids = context.batch.ids;
    args.output = context.buffers[output_].as<int16_t>();
    args.output_stride = context.buffers[output_].stride;
    return args;
  }

  const Kernel<PoolKernel>& kernel_;
  PoolArgs args_;
  int input_ = -1;
  int output_ = -1;
};

}  // namespace

std::unique_ptr<Node> make_pool(const NodeReader& reader) {
  return std::make_unique<Pool>(reader);
}

}  // namespace pyqrt
