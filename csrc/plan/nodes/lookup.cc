#include "ops/lookup/lookup.h"

#include "fixed/fixed.h"
#include "plan/node.h"
#include "plan/node_reader.h"

namespace pyqrt {
namespace {

class Lookup final : public Node {
 public:
  explicit Lookup(const NodeReader& reader) : kernel_(select_kernel(kLookupKernels, reader.isa())) {
    reader.expect_buffers(1, 1);
    const BufferSpec& input = reader.input_spec(0);
    args_.width = input.width;
    rows_ = input.rows;
    input_ = reader.input(0);
    output_ = reader.output(0);
    reader.expect_buffer(input, "the input", DataType::kS16, rows_, args_.width);
    reader.expect_buffer(reader.output_spec(0), "the output", DataType::kS16, rows_, args_.width);
    args_.table = reader.array16("table", kLookupEntries, -fixed::kMaxS16, fixed::kMaxS16);
    report.variant = kernel_.isa;
    report.widest_bits = fixed::bit_length(uint64_t{fixed::kMaxS16} * 128 + 64) + 1;
  }

  Items items() const override { return items_of(rows_); }

  void run(const Context& context, Range items, Range, int) const override {
    const LookupArgs args = bind(context);
    kernel_.run(args, items);
  }

  void run_on(Executor& executor, const Context& context) const override {
    executor.lookup(bind(context), rows_);
  }

 private:
  LookupArgs bind(const Context& context) const {
    LookupArgs args = args_;
    args.input = context.buffers[input_].as<const int16_t>();
    args.input_stride = context.buffers[input_].stride;
    args.output = context.buffers[output_].as<int16_t>();
    args.output_stride = context.buffers[output_].stride;
    return args;
  }

  const Kernel<LookupKernel>& kernel_;
  LookupArgs args_;
  Rows rows_ = Rows::kTokens;
  int input_ = -1;
  int output_ = -1;
};

}  // namespace

std::unique_ptr<Node> make_lookup(const NodeReader& reader) {
  return std::make_unique<Lookup>(reader);
}

}  // namespace pyqrt
