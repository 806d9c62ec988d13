#include "ops/layernorm/layernorm.h"

#include "fixed/fixed.h"
#include "plan/node.h"
#include "plan/node_reader.h"

namespace pyqrt {
namespace {

constexpr int64_t kMaxEpsilon = int64_t{1} << 56;
constexpr int64_t kMaxBias = (int64_t{1} << 30) - 1;

class LayerNorm final : public Node {
 public:
  explicit LayerNorm(const NodeReader& reader)
      : kernel_(select_kernel(kLayerNormKernels, reader.isa())) {
    if (reader.outputs() != 2) reader.expect_buffers(1, 1);
    reader.expect_buffers(1, reader.outputs());
    const BufferSpec& input = reader.input_spec(0);
    args_.n = input.width;
    if (args_.n > kLayerNormMaxWidth) {
      reader.fail("the width is " + std::to_string(args_.n) + ", at most " +
                  std::to_string(kLayerNormMaxWidth) + " is possible");
    }
    rows_ = input.rows;
    input_ = reader.input(0);
    reader.expect_buffer(input, "the input", DataType::kS16, rows_, args_.n);
    args_.epsilon = reader.integer("epsilon", 0, kMaxEpsilon);
    args_.normalize = reader.integer("normalize", 0, 1, 1) != 0;
    args_.exact_mean = reader.integer("exact_mean", 0, 1, 0) != 0;
    for (std::size_t place = 0; place < reader.outputs(); ++place) {
      const bool narrow = reader.output_spec(place).dtype == DataType::kS8;
      int& number = narrow ? output8_ : output16_;
      if (number >= 0) reader.fail("two outputs must be one s8 and one s16");
      number = reader.output(place);
      reader.expect_buffer(reader.output_spec(place), "an output",
                           narrow ? DataType::kS8 : DataType::kS16, rows_, args_.n);
      if (narrow) {
        read_output(reader, "8", args_.output8);
      } else {
        read_output(reader, "16", args_.output16);
      }
    }
    report.variant = kernel_.isa;
  }

  Items items() const override { return items_of(rows_); }

  void run(const Context& context, Range items, Range, int) const override {
    const LayerNormArgs args = bind(context);
    kernel_.run(args, items);
  }

  void run_on(Executor& executor, const Context& context) const override {
    executor.layernorm(bind(context), rows_);
  }

 private:
  LayerNormArgs bind(const Context& context) const {
    LayerNormArgs args = args_;
    args.input = context.buffers[input_].as<const int16_t>();
    args.input_stride = context.buffers[input_].stride;
    if (output8_ >= 0) {
      args.output8.data = context.buffers[output8_].as<int8_t>();
      args.output8.stride = context.buffers[output8_].stride;
    }
    if (output16_ >= 0) {
      args.output16.data = context.buffers[output16_].as<int16_t>();
      args.output16.stride = context.buffers[output16_].stride;
    }
    return args;
  }

  template <class Element>
  void read_output(const NodeReader& reader, const std::string& suffix,
                   LayerNormOutput<Element>& output) {
    output.gain = reader.array16("gain" + suffix, args_.n, -fixed::kMaxS16, fixed::kMaxS16);
    output.bias = reader.array32("bias" + suffix, args_.n, -kMaxBias, kMaxBias);
    output.shift = static_cast<int>(reader.integer("shift" + suffix, 1, 30));
    for (int64_t j = 0; j < args_.n; ++j) {
      const int64_t worst =
          int64_t{fixed::kMaxS16} * (output.gain[j] < 0 ? -output.gain[j] : output.gain[j]) +
          (output.bias[j] < 0 ? -int64_t{output.bias[j]} : output.bias[j]) +
          (int64_t{1} << (output.shift - 1));
      const int bits = fixed::bit_length(static_cast<uint64_t>(worst)) + 1;
      if (bits > report.widest_bits) report.widest_bits = bits;
    }
    if (report.widest_bits > report.budget_bits) {
      reader.fail("y * gain + bias needs " + std::to_string(report.widest_bits) +
                  " bits in the worst case; it has " + std::to_string(report.budget_bits));
    }
  }

  const Kernel<LayerNormKernel>& kernel_;
  LayerNormArgs args_;
  Rows rows_ = Rows::kTokens;
  int input_ = -1;
  int output8_ = -1;
  int output16_ = -1;
};

}  // namespace

std::unique_ptr<Node> make_layernorm(const NodeReader& reader) {
  return std::make_unique<LayerNorm>(reader);
}

}  // namespace pyqrt
