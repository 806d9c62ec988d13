// layernorm on a GPU: a warp takes a row. A row of up to 1024 values stays in its lanes' registers,
// as do the gains and biases, which do not depend on the kernel before and are read while it runs.
#include "cuda/kernels.h"
#include "cuda/neighbours.h"
#include "cuda/rows.h"
#include "ops/layernorm/layernorm_row.h"

namespace pyqrt::cuda {
namespace {

constexpr int kStep = 8 * kWarp;  // columns that a warp takes at once
constexpr int kMostSteps = 4;     // that stay in registers

PYQRT_DEVICE int columns_there(int64_t n, int64_t column) {
  return n - column < 0 ? 0 : n - column < 8 ? static_cast<int>(n - column) : 8;
}

// Gains and biases of a lane's eight columns.
struct Affine {
  int32_t gain[8];
  int32_t bias[8];
};
template <class Element>
PYQRT_DEVICE void load_affine(Affine& affine, const LayerNormOutput<Element>& output,
                              int64_t column, int count) {
  if (output.data == nullptr) return;
  load_neighbours(affine.gain, output.gain + column, count);
  load_neighbours(affine.bias, output.bias + column, count);
}

template <class Element>
PYQRT_DEVICE void store_output(const LayerNormOutput<Element>& output, const Affine& affine,
                               int64_t row, int64_t column, const int32_t (&y)[8], int count) {
  if (output.data == nullptr) return;
  constexpr int32_t kMax = sizeof(Element) == 1 ? fixed::kMaxS8 : fixed::kMaxS16;
  int32_t out[8];
  PYQRT_UNROLL
  for (int i = 0; i < 8; ++i) {
    const int32_t value = layernorm_affine(y[i], affine.gain[i], affine.bias[i], output.shift);
    out[i] = fixed::clamp(value, -kMax, kMax);
  }
  store_neighbours(output.data + row * output.stride + column, out, count);
}

// A lane's part of the sums. Each fits: n is at most 2^14, a value less than 2^15.
struct Statistics {
  int32_t sum = 0;
  int64_t squares = 0;

  PYQRT_MEMBER void add(const int32_t (&q)[8]) {
    PYQRT_UNROLL
    for (int i = 0; i < 8; ++i) {
      sum += q[i];
      squares += int64_t{q[i]} * q[i];
    }
  }
  // Squares of all lanes are less than 2^44: two sums of 32 bits.
  PYQRT_MEMBER LayerNormRow of_row(const LayerNormArgs& args) const {
    constexpr int kLow = 26;
    const int64_t low = warp_sum(static_cast<int32_t>(squares & ((1 << kLow) - 1)));
    const int64_t high = warp_sum(static_cast<int32_t>(squares >> kLow));
    const int64_t total = warp_sum(sum);
    if (args.normalize) return layernorm_row(args, total, (high << kLow) + low);
    constexpr LayerNormRow identity = kLayerNormIdentity;
    return identity;
  }
};

PYQRT_DEVICE void store_columns(const LayerNormArgs& args, const LayerNormRow& normal,
                                const Affine& affine8, const Affine& affine16, int64_t row,
                                int64_t column, const int32_t (&q)[8], int count) {
  int32_t y[8];
  PYQRT_UNROLL
  for (int i = 0; i < 8; ++i) y[i] = layernorm_value(normal, q[i]);
  store_output(args.output8, affine8, row, column, y, count);
  store_output(args.output16, affine16, row, column, y, count);
}

// Rows of at most kSteps * kStep columns.
template <int kSteps>
PYQRT_GLOBAL void short_rows_kernel(RowArguments<LayerNormArgs> arguments) {
  const LayerNormArgs& args = arguments.op;
  const int64_t first = 8 * (thread_index() % kWarp);
  Affine affine8[kSteps] = {};
  Affine affine16[kSteps] = {};
  PYQRT_UNROLL
  for (int s = 0; s < kSteps; ++s) {
    const int64_t column = first + s * kStep;
    load_affine(affine8[s], args.output8, column, columns_there(args.n, column));
    load_affine(affine16[s], args.output16, column, columns_there(args.n, column));
  }
  for_rows(arguments, [&](int64_t row, int) {
    const int16_t* input = args.input + row * args.input_stride;
    int32_t q[kSteps][8];
    Statistics statistics;
    PYQRT_UNROLL
    for (int s = 0; s < kSteps; ++s) {
      const int64_t column = first + s * kStep;
      load_neighbours(q[s], input + column, columns_there(args.n, column));
    }
    PYQRT_UNROLL
    for (int s = 0; s < kSteps; ++s) statistics.add(q[s]);
    const LayerNormRow normal = statistics.of_row(args);
    PYQRT_UNROLL
    for (int s = 0; s < kSteps; ++s) {
      const int64_t column = first + s * kStep;
      store_columns(args, normal, affine8[s], affine16[s], row, column, q[s],
                    columns_there(args.n, column));
    }
  });
}

PYQRT_GLOBAL void long_rows_kernel(RowArguments<LayerNormArgs> arguments) {
  const LayerNormArgs& args = arguments.op;
  for_rows(arguments, [&](int64_t row, int lane) {
    const int16_t* input = args.input + row * args.input_stride;
    int32_t q[8];
    Statistics statistics;
    for (int64_t column = 8 * lane; column < args.n; column += kStep) {
      load_neighbours(q, input + column, columns_there(args.n, column));
      statistics.add(q);
    }
    const LayerNormRow normal = statistics.of_row(args);
    for (int64_t column = 8 * lane; column < args.n; column += kStep) {
      const int count = columns_there(args.n, column);
      Affine affine8 = {};
      Affine affine16 = {};
      load_affine(affine8, args.output8, column, count);
      load_affine(affine16, args.output16, column, count);
      load_neighbours(q, input + column, count);
      store_columns(args, normal, affine8, affine16, row, column, q, count);
    }
  });
}

}  // namespace

void launch_layernorm(const LayerNormArgs& args, int64_t rows, const int32_t* live_rows,
                      Stream& stream) {
  const auto launch = [&](auto kernel) { launch_rows(kernel, args, rows, live_rows, stream); };
  if (args.n <= kStep) {
    launch(short_rows_kernel<1>);
  } else if (args.n <= 2 * kStep) {
    launch(short_rows_kernel<2>);
  } else if (args.n <= 3 * kStep) {
    launch(short_rows_kernel<3>);
  } else if (args.n <= kMostSteps * kStep) {
    launch(short_rows_kernel<kMostSteps>);
  } else {
    launch(long_rows_kernel);
  }
}

}  // namespace pyqrt::cuda
