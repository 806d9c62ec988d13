// linear, reference: the contract's formula, one output at a time.
#include "ops/linear/linear_epilogue.h"

namespace pyqrt {
namespace {

template <class Input>
int64_t dot(const Input* row, const int8_t* block, int64_t channel, int64_t k) {
  int64_t sum = 0;
  for (int64_t i = 0; i < k; ++i) {
    const int64_t group = i / kLinearGroup;
    const int8_t weight = block[(group * kLinearBlock + channel) * kLinearGroup + i % kLinearGroup];
    sum += int32_t{row[i]} * weight;
  }
  return sum;
}

int32_t accumulate(const LinearArgs& args, int64_t i, int64_t j) {
  const int64_t block_bytes = ceil_div(args.k, kLinearGroup) * kLinearGroup * kLinearBlock;
  const int8_t* block = args.weight + j / kLinearBlock * block_bytes;
  const int64_t channel = j % kLinearBlock;
  const int64_t offset = i * args.input_stride;
  const int64_t sum =
      args.input_type == DataType::kS8
          ? dot(static_cast<const int8_t*>(args.input) + offset, block, channel, args.k)
          : fixed::rshr64(
                dot(static_cast<const int16_t*>(args.input) + offset, block, channel, args.k),
                args.pre_shift);
  return static_cast<int32_t>(sum + args.bias[j]);
}

void store(const LinearArgs& args, int64_t i, int64_t j, int32_t r) {
  with_epilogue(args.epilogue, [&](auto epilogue) {
    using Output = LinearOutput<epilogue.value>;
    const int32_t residual = args.epilogue == LinearEpilogue::kResidualS16
                                 ? args.residual[i * args.residual_stride + j]
                                 : 0;
    const int32_t gelu_multiplier =
        args.epilogue == LinearEpilogue::kGeluS8 ? args.gelu_multiplier[j] : 0;
    static_cast<Output*>(args.output)[i * args.output_stride + j] = static_cast<Output>(
        linear_epilogue<epilogue.value>(args, args.gelu, gelu_multiplier, r, residual));
  });
}

}  // namespace

void linear_reference(const LinearArgs& args, Range rows, Range blocks, void* /*scratch*/) {
  const int64_t end = blocks.end * kLinearBlock < args.n ? blocks.end * kLinearBlock : args.n;
  for (int64_t i = rows.begin; i < rows.end; ++i) {
    for (int64_t j = blocks.begin * kLinearBlock; j < end; ++j) {
      store(args, i, j,
            fixed::requantize(accumulate(args, i, j), args.multiplier[j], args.shift[j]));
    }
  }
}

}  // namespace pyqrt
