#include "ops/multiply/multiply.h"

#include "fixed/fixed.h"
#include "plan/node.h"
#include "plan/node_reader.h"

namespace pyqrt {
namespace {

class Multiply final : public Node {
 public:
  explicit Multiply(const NodeReader& reader)
      : kernel_(select_kernel(kMultiplyKernels, reader.isa())) {
    reader.expect_buffers(2, 1);
    args_.width = reader.input_spec(0).width;
    rows_ = reader.input_spec(0).rows;
    a_ = reader.input(0);
    b_ = reader.input(1);
    output_ = reader.output(0);
    narrow_ = reader.output_spec(0).dtype == DataType::kS8;
    reader.expect_buffer(reader.input_spec(0), "the input", DataType::kS16, rows_, args_.width);
    reader.expect_buffer(reader.input_spec(1), "the factor", DataType::kS16, rows_, args_.width);
    reader.expect_buffer(reader.output_spec(0), "the output",
                         narrow_ ? DataType::kS8 : DataType::kS16, rows_, args_.width);
    const int64_t limit = narrow_ ? fixed::kMaxS8 : 0;
    args_.zero_point = static_cast<int32_t>(reader.integer("zero_point", -limit, limit));
    args_.multiplier = reader.array32("multiplier", args_.width, int64_t{1} << 30, INT32_MAX);
    args_.shift = reader.array32("shift", args_.width, kMultiplyMinShift, fixed::kMaxShift);
    report.variant = kernel_.isa;
    report.widest_bits = fixed::bit_length(uint64_t{fixed::kMaxS16} * fixed::kMaxS16) + 1;
  }

  Items items() const override { return items_of(rows_); }

  void run(const Context& context, Range items, Range, int) const override {
    kernel_.run(bind(context), items);
  }

  void run_on(Executor& executor, const Context& context) const override {
    executor.multiply(bind(context), rows_);
  }

 private:
  MultiplyArgs bind(const Context& context) const {
    MultiplyArgs args = args_;
    args.a = context.buffers[a_].as<const int16_t>();
    args.a_stride = context.buffers[a_].stride;
    args.b = context.buffers[b_].as<const int16_t>();
    args.b_stride = context.buffers[b_].stride;
    if (narrow_) {
      args.output8 = context.buffers[output_].as<int8_t>();
    } else {
      args.output16 = context.buffers[output_].as<int16_t>();
    }
    args.output_stride = context.buffers[output_].stride;
    return args;
  }

  const Kernel<MultiplyKernel>& kernel_;
  MultiplyArgs args_;
  Rows rows_ = Rows::kTokens;
  bool narrow_ = false;
  int a_ = -1;
  int b_ = -1;
  int output_ = -1;
};

}  // namespace

std::unique_ptr<Node> make_multiply(const NodeReader& reader) {
  return std::make_unique<Multiply>(reader);
}

}  // namespace pyqrt
