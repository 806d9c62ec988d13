#include "ops/normalize/normalize.h"

#include "plan/node.h"
#include "plan/node_reader.h"

namespace pyqrt {
namespace {

constexpr int64_t kMaxWidth = 65536;
class Normalize final : public Node {
 public:
  explicit Normalize(const NodeReader& reader)
      : kernel_(select_kernel(kNormalizeKernels, reader.isa())) {
    reader.expect_buffers(1, 1);
    const BufferSpec& input = reader.input_spec(0);
    args_.width = input.width;
    if (args_.width > kMaxWidth) {
      reader.fail("the width is " + std::to_string(args_.width) + ", at most " +
                  std::to_string(kMaxWidth) + " is possible");
    }
    rows_ = input.rows;
    input_ = reader.input(0);
    output_ = reader.output(0);
    reader.expect_buffer(input, "the input", DataType::kS16, rows_, args_.width);
    reader.expect_buffer(reader.output_spec(0), "the output", DataType::kS32, rows_, args_.width);
    report.variant = kernel_.isa;
    report.budget_bits = 64;
    report.widest_bits = 63;  // N << 2(31 - e)
  }

  Items items() const override { return items_of(rows_); }

  void run(const Context& context, Range items, Range, int) const override {
    const NormalizeArgs args = bind(context);
    kernel_.run(args, items);
  }

  void run_on(Executor& executor, const Context& context) const override {
    executor.normalize(bind(context), rows_);
  }

 private:
  NormalizeArgs bind(const Context& context) const {
    NormalizeArgs args = args_;
    args.input = context.buffers[input_].as<const int16_t>();
    args.input_stride = context.buffers[input_].stride;
    args.output = context.buffers[output_].as<int32_t>();
    args.output_stride = context.buffers[output_].stride;
    return args;
  }

  const Kernel<NormalizeKernel>& kernel_;
  NormalizeArgs args_;
  Rows rows_ = Rows::kTokens;
  int input_ = -1;
  int output_ = -1;
};

}  // namespace

std::unique_ptr<Node> make_normalize(const NodeReader& reader) {
  return std::make_unique<Normalize>(reader);
}

}  // namespace pyqrt
