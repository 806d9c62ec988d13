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
constexpr int64_t kTileBlocks = 4;  // blocks the widest kernel works on together: a column

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

constexpr int64_t kBlockGroup = kLinearBlock * kLinearGroup;

// Of the channels of one block: the sum of the weights; does one lie beyond [-127, 127]?
struct BlockSums {
  int32_t sum[kLinearBlock] = {};
  bool beyond[kLinearBlock] = {};
};

// Adds up columns of bytes in 16 bits as far as those reach, so that the compiler can vectorize:
// it runs at the speed of memory.
BlockSums sum_block(const int8_t* weight, int64_t groups) {
  constexpr int64_t kRun = 255;  // 255 * 128 < 2^15
  BlockSums result;
  for (int64_t first = 0; first < groups; first += kRun) {
    int16_t sum[kBlockGroup] = {};
    int8_t beyond[kBlockGroup] = {};
    for (int64_t g = first; g < std::min(first + kRun, groups); ++g) {
      const int8_t* group = weight + g * kBlockGroup;
      for (int64_t i = 0; i < kBlockGroup; ++i) {
        sum[i] = static_cast<int16_t>(sum[i] + group[i]);
        beyond[i] = static_cast<int8_t>(beyond[i] | (group[i] < -fixed::kMaxS8));
      }
    }
    for (int64_t i = 0; i < kBlockGroup; ++i) {
      result.sum[i / kLinearGroup] += sum[i];
      result.beyond[i / kLinearGroup] |= beyond[i] != 0;
    }
  }
  return result;
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

    if (args_.epilogue == LinearEpilogue::kGeluS8 || args_.epilogue == LinearEpilogue::kGeluS16) {
      args_.gelu = reader.polynomial(fixed::gelu_polynomial);
    }
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
    paired_ = &reader.paired_weight("weight", kernel_.isa, args_);
    report.variant = kernel_.isa;
    report.weight_bytes = channels * round_up(args_.k, kLinearGroup);
  }

  Items items() const override { return items_of(rows_); }

  int64_t columns() const override { return ceil_div(args_.n, kLinearBlock * kTileBlocks); }

  void run(const Context& context, Range items, Range columns, int worker) const override {
    const LinearArgs args = bind(context);
    const int64_t blocks = ceil_div(args.n, kLinearBlock);
    kernel_.run(args, items,
                {columns.begin * kTileBlocks, std::min(columns.end * kTileBlocks, blocks)},
                context.worker_scratch(worker));
  }

  void run_on(Executor& executor, const Context& context) const override {
    executor.linear(bind(context), rows_);
  }

  std::size_t scratch_bytes(int64_t) const override { return linear_scratch_bytes(args_.k); }

  void verify() const override {
    const int64_t groups = ceil_div(args_.k, kLinearGroup);
    for (int64_t block = 0; block < ceil_div(args_.n, kLinearBlock); ++block) {
      const int8_t* weight = args_.weight + block * groups * kBlockGroup;
      const BlockSums sums = sum_block(weight, groups);
      const int8_t* last = weight + (groups - 1) * kBlockGroup;
      for (int64_t c = 0; c < kLinearBlock; ++c) {
        const int64_t j = block * kLinearBlock + c;
        bool padded = true;
        for (int64_t i = args_.k - (groups - 1) * kLinearGroup; i < kLinearGroup; ++i) {
          padded &= last[c * kLinearGroup + i] == 0;
        }
        if (sums.beyond[c] || !padded) {
          throw Error("weights of channel " + std::to_string(j) +
                      " leave [-127, 127] or are not zero in the padding");
        }
        if (sums.sum[c] != args_.weight_sum[j]) {
          throw Error("weight_sum of channel " + std::to_string(j) + " is " +
                      std::to_string(args_.weight_sum[j]) + ", the weights add up to " +
                      std::to_string(sums.sum[c]));
        }
      }
    }
  }

 private:
  LinearArgs bind(const Context& context) const {
    LinearArgs args = args_;
    args.paired = paired_->get();
    args.m = context.batch.rows(rows_);
    const BufferView& input = context.buffers[input_];
    args.input = input.data;
    args.input_stride = input.stride;
    args.output = context.buffers[output_].data;
    args.output_stride = context.buffers[output_].stride;
    if (residual_ >= 0) {
      args.residual = context.buffers[residual_].as<const int16_t>();
      args.residual_stride = context.buffers[residual_].stride;
    }
    return args;
  }

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
  const PairedWeights::Place* paired_ = nullptr;
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
