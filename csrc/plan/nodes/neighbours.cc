#include "ops/neighbours/neighbours.h"

#include "fixed/fixed.h"
#include "plan/node.h"
#include "plan/node_reader.h"

namespace pyqrt {
namespace {

class Neighbours final : public Node {
 public:
  explicit Neighbours(const NodeReader& reader)
      : kernel_(select_kernel(kNeighboursKernels, reader.isa())) {
    reader.expect_buffers(1, 1);
    args_.width = reader.input_spec(0).width;
    args_.reach = reader.integer("reach", 1, kNeighboursMaxReach);
    input_ = reader.input(0);
    output_ = reader.output(0);
    reader.expect_buffer(reader.input_spec(0), "the input", DataType::kS16, Rows::kTokens,
                         args_.width);
    reader.expect_buffer(reader.output_spec(0), "the output", DataType::kS16, Rows::kTokens,
                         (2 * args_.reach + 1) * args_.width);
    report.variant = kernel_.isa;
    report.widest_bits = fixed::bit_length(uint64_t{fixed::kMaxS16}) + 1;
  }

  // A sequence reads rows that others write, so it is nothing that could join rows of its own.
  Items items() const override { return Items::kHeads; }
  int64_t count(const Batch& batch) const override { return batch.sequences; }

  void run(const Context& context, Range items, Range, int) const override {
    kernel_.run(bind(context), items);
  }

  void run_on(Executor& executor, const Context& context) const override {
    executor.neighbours(bind(context));
  }

 private:
  NeighboursArgs bind(const Context& context) const {
    NeighboursArgs args = args_;
    args.input = context.buffers[input_].as<const int16_t>();
    args.input_stride = context.buffers[input_].stride;
    args.offsets = context.batch.offsets;
    args.output = context.buffers[output_].as<int16_t>();
    args.output_stride = context.buffers[output_].stride;
    return args;
  }

  const Kernel<NeighboursKernel>& kernel_;
  NeighboursArgs args_;
  int input_ = -1;
  int output_ = -1;
};

}  // namespace

std::unique_ptr<Node> make_neighbours(const NodeReader& reader) {
  return std::make_unique<Neighbours>(reader);
}

}  // namespace pyqrt
