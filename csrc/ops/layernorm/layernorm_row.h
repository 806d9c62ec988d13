// The scalar half of layernorm, shared by all variants: what is done once per row, and the columns
// as scalar code (the whole row in the reference; tails and degenerate rows in the variants).
//
// Everything is `static`: translation units compiled for different instruction sets each keep
// their own copy.
#pragma once

#include "fixed/fixed.h"
#include "ops/layernorm/layernorm.h"

namespace pyqrt {

// y_j = sat16(rshr(q_j * inverse - center, shift))
struct LayerNormRow {
  int32_t center = 0;   // the mean times `inverse`, less than 2^29
  int32_t inverse = 0;  // [2^13, 2^14), or 0 for a row without variance
  int shift = 1;        // [-10, 31]; at most 0 only where the variance is far below one unit
};

// The row for which y_j = q_j, exactly: where nothing is normalized.
static constexpr LayerNormRow kLayerNormIdentity{0, 1 << 13, 13};

static constexpr LayerNormRow layernorm_row(const LayerNormArgs& args, int64_t sum,
                                            int64_t sum_of_squares) {
  LayerNormRow row;
  const int64_t n = args.n;
  const int64_t variance = n * sum_of_squares - sum * sum + args.epsilon;  // n^2 times it
  if (variance == 0) return row;

  const int e = (fixed::bit_length(static_cast<uint64_t>(variance)) + 1) / 2;
  const uint64_t root = fixed::isqrt(static_cast<uint64_t>(variance) << (2 * (31 - e)));
  const uint64_t inverse =
      fixed::divide(static_cast<uint64_t>(n) << 46, static_cast<uint32_t>(root));
  int k = fixed::bit_length(inverse) - 14;
  row.inverse = static_cast<int32_t>(fixed::rshr64(static_cast<int64_t>(inverse), k));
  if (row.inverse == 1 << 14) {
    row.inverse = 1 << 13;
    ++k;
  }
  row.shift = 15 - layernorm_fraction_bits(n) + e - k;
  row.center = static_cast<int32_t>(args.exact_mean ? fixed::rounded_mean(sum * row.inverse, n)
                                                    : fixed::rounded_mean(sum, n) * row.inverse);
  return row;
}

// The last line of both outputs, before saturation. The contract leaves room for the rounding.
static constexpr int32_t layernorm_affine(int32_t y, int32_t gain, int32_t bias, int shift) {
  return fixed::rshr(y * gain + bias, shift);
}
template <class Element>
static constexpr int32_t layernorm_affine(const LayerNormOutput<Element>& output, int32_t y,
                                          int64_t column) {
  return layernorm_affine(y, output.gain[column], output.bias[column], output.shift);
}

// y_j of the input q_j.
static constexpr int32_t layernorm_value(const LayerNormRow& row, int32_t q) {
  return fixed::sat16(fixed::rshr(q * row.inverse - row.center, row.shift));
}

static inline void layernorm_columns(const LayerNormArgs& args, int64_t index,
                                     const LayerNormRow& row, int64_t begin, int64_t end) {
  const int16_t* input = args.input + index * args.input_stride;
  int8_t* output8 = args.output8.data ? args.output8.data + index * args.output8.stride : nullptr;
  int16_t* output16 =
      args.output16.data ? args.output16.data + index * args.output16.stride : nullptr;
  for (int64_t j = begin; j < end; ++j) {
    const int32_t y = layernorm_value(row, input[j]);
    if (output8) {
      output8[j] = static_cast<int8_t>(fixed::sat8(layernorm_affine(args.output8, y, j)));
    }
    if (output16) {
      output16[j] = static_cast<int16_t>(fixed::sat16(layernorm_affine(args.output16, y, j)));
    }
  }
}

// How vector code sees a row: y_j = sat16((q_j * inverse + offset) >> shift), which is the line
// above with the mean and the rounding constant gathered in `offset`.
struct LayerNormVectorRow {
  int64_t index;
  LayerNormRow row;
  int32_t offset;
  const int16_t* input;
  int8_t* output8;
  int16_t* output16;
};

// Rows that go through vector code together: statistics first, so that the divisions of one row
// run while the next is summed; then the columns, so that rows share gains and biases.
inline constexpr int kLayerNormRowBlock = 4;

// Prepares the first block of `range` for vector code and returns how many rows that is: degenerate
// rows, to be shifted left, are finished here. statistics(index) is a row's LayerNormRow.
template <class Statistics>
static inline int layernorm_vector_rows(const LayerNormArgs& args, Range range,
                                        const Statistics& statistics, LayerNormVectorRow* rows) {
  int count = 0;
  for (int64_t i = 0; i < kLayerNormRowBlock && range.begin + i < range.end; ++i) {
    const int64_t index = range.begin + i;
    const LayerNormRow row = statistics(index);
    if (row.shift <= 0) {
      layernorm_columns(args, index, row, 0, args.n);
      continue;
    }
    rows[count++] = {
        index,
        row,
        (int32_t{1} << (row.shift - 1)) - row.center,
        args.input + index * args.input_stride,
        args.output8.data ? args.output8.data + index * args.output8.stride : nullptr,
        args.output16.data ? args.output16.data + index * args.output16.stride : nullptr,
    };
  }
  return count;
}

}  // namespace pyqrt
