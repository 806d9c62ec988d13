#include "ops/rotary/rotary.h"

#include "fixed/fixed.h"
#include "plan/node.h"
#include "plan/node_reader.h"

namespace pyqrt {
namespace {

class Rotary final : public Node {
 public:
  explicit Rotary(const NodeReader& reader) : kernel_(select_kernel(kRotaryKernels, reader.isa())) {
    reader.expect_buffers(1, 1);
    args_.heads = reader.integer("num_heads", 1, 8192);
    args_.head_dim = reader.integer("head_dim", 2, 1024);
    args_.rotated = 2 * reader.integer("pairs", 1, args_.head_dim / 2);
    args_.shift = static_cast<int>(reader.integer("shift", 15, 24));
    input_ = reader.input(0);
    output_ = reader.output(0);
    const int64_t width = args_.heads * args_.head_dim;
    reader.expect_buffer(reader.input_spec(0), "the input", DataType::kS16, Rows::kTokens, width);
    reader.expect_buffer(reader.output_spec(0), "the output", DataType::kS8, Rows::kTokens, width);
    const int64_t entries = reader.limits().max_length * args_.rotated / 2;
    args_.cosine = reader.array16("cosine", entries, -kRotaryOne, kRotaryOne);
    args_.sine = reader.array16("sine", entries, -kRotaryOne, kRotaryOne);
    report.variant = kernel_.isa;
    report.widest_bits = fixed::bit_length(uint64_t{2} * fixed::kMaxS16 * kRotaryOne) + 1;
  }

  Items items() const override { return Items::kTokens; }

  void run(const Context& context, Range items, Range, int) const override {
    kernel_.run(bind(context), items);
  }

  void run_on(Executor& executor, const Context& context) const override {
    executor.rotary(bind(context));
  }

 private:
  RotaryArgs bind(const Context& context) const {
    RotaryArgs args = args_;
    args.position = context.batch.positions;
    args.input = context.buffers[input_].as<const int16_t>();
    args.input_stride = context.buffers[input_].stride;
    args.output = context.buffers[output_].as<int8_t>();
    args.output_stride = context.buffers[output_].stride;
    return args;
  }

  const Kernel<RotaryKernel>& kernel_;
  RotaryArgs args_;
  int input_ = -1;
  int output_ = -1;
};

}  // namespace

std::unique_ptr<Node> make_rotary(const NodeReader& reader) {
  return std::make_unique<Rotary>(reader);
}

}  // namespace pyqrt
