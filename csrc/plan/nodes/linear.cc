#include "ops/linear/linear.h"

#include <algorithm>
#include <cstdlib>

#include "fixed/fixed.h"
#include "plan/node.h"
#include "plan/node_reader.h"

namespace pyqrt {
namespace {

constexpr int64_t kMaxFeatures = 65536;
constexpr int64_t kMaxOutputs = int64_t{1} << 22;  // a vocabulary
constexpr int64_t kTileBlocks = 4;                 // blocks the widest kernel works on together
constexpr int64_t kItemsPerThread = 3;             // pieces per thread, so that none waits long

LinearEpilogue parse_epilogue(const NodeReader& reader) {
  const std::string name = reader.text("epilogue");
  if (name == "requantize_s8") return LinearEpilogue::kRequantizeS8;
  if (name == "requantize_s16") return LinearEpilogue::kRequantizeS16;
  if (name == "requantize_s32") return LinearEpilogue::kRequantizeS32;
  if (name == "gelu_s8") return LinearEpilogue::kGeluS8;
  if (name == "gelu_s16") return LinearEpilogue::kGeluS16;
  if (name == "residual_s16") return LinearEpilogue::kResidualS16;
  reader.fail(
      "unknown epilogue '" + name +
      "'; known: requantize_s8, requantize_s16, requantize_s32, gelu_s8, gelu_s16, residual_s16");
}

class Linear final : public Node {
 public:
  explicit Linear(const NodeReader& reader) : kernel_(select_kernel(kLinearKernels, reader.isa())) {
    args_.epilogue = parse_epilogue(reader);
    const bool has_residual = args_.epilogue == LinearEpilogue::kResidualS16;
    reader.expect_buffers(has_residual ? 2 : 1, 1);
    args_.k = reader.integer("in_features", 1, kMaxFeatures);
    args_.n = reader.integer("out_features", 1, kMaxOutputs);
    input_ = reader.input(0);
    output_ = reader.output(0);
    rows_ = reader.input_spec(0).rows;
    args_.input_type = reader.input_spec(0).dtype;
    if (args_.input_type == DataType::kS32) reader.fail("the input must be s8 or s16");
    reader.expect_buffer(reader.input_spec(0), "the input", args_.input_type, rows_, args_.k);
    reader.expect_buffer(reader.output_spec(0), "the output", linear_output_type(args_.epilogue),
                         rows_, args_.n);

    const bool wide = args_.input_type == DataType::kS16;
    args_.pre_shift = static_cast<int>(reader.integer("pre_shift", 0, wide ? 16 : 0));
    args_.zero_point =
        static_cast<int32_t>(reader.integer("zero_point", -fixed::kMaxS8, fixed::kMaxS8));

    const int64_t channels = round_up(args_.n, kLinearBlock);
    constexpr int64_t kMax32 = INT32_MAX;
    args_.weight = reader.weight("weight", args_.n, args_.k);
    args_.weight_sum = reader.array32("weight_sum", channels, -kMax32, kMax32);
    args_.bias = reader.array32("bias", channels, -kMax32, kMax32);
    args_.multiplier = reader.array32("multiplier", channels, int64_t{1} << 30, kMax32);
    args_.shift = reader.array32("shift", channels, fixed::kMinShift, fixed::kMaxShift);
    prove_accumulator(reader, channels);

    if (args_.epilogue == LinearEpilogue::kGeluS8) {
      args_.gelu_multiplier =
          reader.array16("gelu_multiplier", round_up(args_.n, 32), 0, fixed::kMaxS16);
      args_.gelu_shift = static_cast<int>(reader.integer("gelu_shift", 1, 30));
    }
    if (has_residual) {
      residual_ = reader.input(1);
      reader.expect_buffer(reader.input_spec(1), "the residual", DataType::kS16, rows_, args_.n);
      args_.residual_multiplier =
          static_cast<int32_t>(reader.integer("residual_multiplier", 0, fixed::kMaxS16));
      args_.residual_shift = static_cast<int>(reader.integer("residual_shift", 1, 30));
    }
    report.variant = kernel_.isa;
    report.weight_bytes = channels * round_up(args_.k, kLinearGroup);
  }

  void run(const Context& context) const override {
    LinearArgs args = args_;
    args.m = context.batch.rows(rows_);
    if (args.m == 0) return;
    const BufferView& input = context.buffers[input_];
    args.input = input.data;
    args.input_stride = input.stride;
    args.output = context.buffers[output_].data;
    args.output_stride = context.buffers[output_].stride;
    if (residual_ >= 0) {
      args.residual = context.buffers[residual_].as<const int16_t>();
      args.residual_stride = context.buffers[residual_].stride;
    }
    // Rows are cut into whole chunks; columns only as far as that leaves threads without work,
    // because every piece repacks its rows.
    const int64_t blocks = ceil_div(args.n, kLinearBlock);
    const int64_t threads = context.pool.threads();
    const int64_t row_items = threads == 1 ? 1 : ceil_div(args.m, kLinearRowChunk);
    const int64_t wanted = threads == 1 ? 1 : ceil_div(kItemsPerThread * threads, row_items);
    const int64_t column_grain = round_up(ceil_div(blocks, wanted), kTileBlocks);
    const int64_t column_items = ceil_div(blocks, column_grain);
    const int64_t row_grain = threads == 1 ? args.m : kLinearRowChunk;
    context.pool.run(row_items * column_items, [&](int64_t item, int worker) {
      const int64_t row = item / column_items * row_grain;
      const int64_t block = item % column_items * column_grain;
      kernel_.run(args, Range{row, std::min(row + row_grain, args.m)},
                  Range{block, std::min(block + column_grain, blocks)},
                  context.worker_scratch(worker));
    });
  }

  std::size_t scratch_bytes(int64_t) const override { return linear_scratch_bytes(args_.k); }

  void verify() const override {
    const int64_t groups = ceil_div(args_.k, kLinearGroup);
    const int64_t channels = round_up(args_.n, kLinearBlock);
    for (int64_t j = 0; j < channels; ++j) {
      const int8_t* column =
          args_.weight +
          (j / kLinearBlock * groups * kLinearBlock + j % kLinearBlock) * kLinearGroup;
      int32_t sum = 0;
      bool in_range = true;
      for (int64_t g = 0; g < groups; ++g) {
        const int8_t* group = column + g * kLinearBlock * kLinearGroup;
        for (int64_t c = 0; c < kLinearGroup; ++c) {
          sum += group[c];
          in_range &= group[c] >= -fixed::kMaxS8;
          in_range &= g * kLinearGroup + c < args_.k || group[c] == 0;
        }
      }
      if (!in_range) {
        throw Error("weights of channel " + std::to_string(j) +
                    " leave [-127, 127] or are not zero in the padding");
      }
      if (sum != args_.weight_sum[j]) {
        throw Error("weight_sum of channel " + std::to_string(j) + " is " +
                    std::to_string(args_.weight_sum[j]) + ", the weights add up to " +
                    std::to_string(sum));
      }
    }
  }

 private:
  // The contract's bound, from k and the bias alone, so that weights need not be read.
  void prove_accumulator(const NodeReader& reader, int64_t channels) {
    const bool wide = args_.input_type == DataType::kS16;
    const int64_t product = (wide ? fixed::kMaxS16 : fixed::kMaxS8) * int64_t{127} * args_.k;
    const int64_t sum = wide ? (product >> args_.pre_shift) + 1 : product;
    for (int64_t j = 0; j < channels; ++j) {
      const int64_t worst = sum + std::llabs(int64_t{args_.bias[j]});
      const int left = std::max(0, 33 - args_.shift[j]);
      const int bits = fixed::bit_length(static_cast<uint64_t>(worst) << left) + 1;
      report.widest_bits = std::max(report.widest_bits, bits);
      if (bits > report.budget_bits) {
        reader.fail("the accumulator of channel " + std::to_string(j) + " needs " +
                    std::to_string(bits) +
                    " bits in the worst case (k = " + std::to_string(args_.k) + ", bias " +
                    std::to_string(args_.bias[j]) + ", shift " + std::to_string(args_.shift[j]) +
                    "); it has " + std::to_string(report.budget_bits));
      }
    }
  }

  const Kernel<LinearKernel>& kernel_;
  LinearArgs args_;
  Rows rows_ = Rows::kTokens;
  int input_ = -1;
  int residual_ = -1;
  int output_ = -1;
};

}  // namespace

std::unique_ptr<Node> make_linear(const NodeReader& reader) {
  return std::make_unique<Linear>(reader);
}

}  // namespace pyqrt
