#include "cuda/eight.h"
#include "cuda/kernels.h"
#include "cuda/rows.h"
#include "ops/layernorm/layernorm_row.h"

namespace pyqrt::cuda {
namespace {

constexpr int kStep = 8 * kWarp;  // columns that a warp takes at once

PYQRT_DEVICE int columns_there(int64_t n, int64_t column) {
  return n - column < 8 ? static_cast<int>(n - column) : 8;
}

template <class Element>
PYQRT_DEVICE void store_output(const LayerNormOutput<Element>& output, int64_t row, int64_t column,
                               const int32_t (&y)[8], int count) {
  if (output.data == nullptr) return;
  constexpr int32_t kMax = sizeof(Element) == 1 ? fixed::kMaxS8 : fixed::kMaxS16;
  int32_t out[8] = {};
  PYQRT_UNROLL
  for (int i = 0; i < 8; ++i) {
    if (i < count) out[i] = fixed::clamp(layernorm_affine(output, y[i], column + i), -kMax, kMax);
  }
  store_eight(output.data + row * output.stride + column, out, count);
}

PYQRT_GLOBAL void layernorm_kernel(RowArguments<LayerNormArgs> arguments) {
  const LayerNormArgs& args = arguments.op;
  for_row(arguments, [&](int64_t row, int lane) {
    const int16_t* input = args.input + row * args.input_stride;
    int64_t sum = 0;
    int64_t squares = 0;
    int32_t q[8];
    for (int64_t column = 8 * lane; column < args.n; column += kStep) {
      load_eight(q, input + column, columns_there(args.n, column));
      PYQRT_UNROLL
      for (int i = 0; i < 8; ++i) {
        sum += q[i];
        squares += int64_t{q[i] * q[i]};
      }
    }
    sum = reduce_sum<kWarp>(sum);
    squares = reduce_sum<kWarp>(squares);
    const LayerNormRow normal =
        args.normalize ? layernorm_row(args.n, args.epsilon, sum, squares) : kLayerNormIdentity;
    for (int64_t column = 8 * lane; column < args.n; column += kStep) {
      const int count = columns_there(args.n, column);
      load_eight(q, input + column, count);
      int32_t y[8];
      PYQRT_UNROLL
      for (int i = 0; i < 8; ++i) y[i] = layernorm_value(normal, q[i]);
      store_output(args.output8, row, column, y, count);
      store_output(args.output16, row, column, y, count);
    }
  });
}

}  // namespace

void launch_layernorm(const LayerNormArgs& args, int64_t rows, const int32_t* live_rows,
                      Stream& stream) {
  launch_rows(layernorm_kernel, args, rows, live_rows, stream);
}

}  // namespace pyqrt::cuda
