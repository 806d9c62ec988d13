#include "cuda/kernels.h"
#include "cuda/launch.h"
#include "cuda/machine.h"
#include "fixed/fixed.h"

namespace pyqrt::cuda {
namespace {

constexpr int kThreads = 128;  // columns of a block

PYQRT_GLOBAL void pool_kernel(PoolArgs args) {
  wait_for_kernel_before();
  const int64_t sequence = block_x();
  const int64_t column = int64_t{block_y()} * kThreads + thread_index();
  if (column >= args.width) return;
  const int32_t first = args.offsets[sequence];
  const int32_t tokens = args.offsets[sequence + 1] - first;
  const int16_t* input = args.input + first * args.input_stride + column;
  int32_t value = 0;
  if (tokens > 0 && args.kind == PoolKind::kMax) {
    value = *input;
    for (int i = 1; i < tokens; ++i) {
      const int16_t x = input[i * args.input_stride];
      value = x > value ? x : value;
    }
  } else if (tokens > 0 && args.kind == PoolKind::kMean) {
    int32_t sum = 0;
    for (int i = 0; i < tokens; ++i) sum += input[i * args.input_stride];
    value = static_cast<int32_t>(fixed::rounded_mean(sum, tokens));
  } else if (tokens > 0) {
    value = input[(pool_row(args, sequence) - first) * args.input_stride];
  }
  args.output[sequence * args.output_stride + column] = static_cast<int16_t>(value);
}

}  // namespace

void launch_pool(const PoolArgs& args, int64_t sequences, Stream& stream) {
  launch(pool_kernel, {sequences, ceil_div(args.width, kThreads)}, kThreads, 0, stream, args);
}

}  // namespace pyqrt::cuda
