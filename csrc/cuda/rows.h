// Kernels that work row by row: a warp takes a row, its lanes take the columns in turn.
#pragma once

#include <algorithm>

#include "base/types.h"
#include "cuda/launch.h"
#include "cuda/machine.h"

namespace pyqrt::cuda {

inline constexpr int kRowWarps = 4;  // of a block

// What a kernel of rows is called with.
template <class Op>
struct RowArguments {
  Op op;
  int64_t rows;
  const int32_t* live_rows;  // null: all
  int64_t step;              // warps of the grid
};

// Calls body(row, lane) for every row of the warp, once the kernel before has ended.
template <class Op, class Body>
PYQRT_DEVICE void for_rows(const RowArguments<Op>& arguments, const Body& body) {
  wait_for_kernel_before();
  const int64_t rows = arguments.live_rows == nullptr ? arguments.rows : *arguments.live_rows;
  const int64_t first = int64_t{block_x()} * kRowWarps + thread_index() / kWarp;
  for (int64_t row = first; row < rows; row += arguments.step) body(row, thread_index() % kWarp);
}

// An op whose rows are tokens, and how many sequences they are of.
template <class Op>
struct OfSequences {
  Op op;  // has offsets, [count + 1]
  int64_t count;
};

// The sequence that holds a row, which one does: the last that begins at or before it.
template <class Op>
PYQRT_DEVICE int64_t sequence_of(const OfSequences<Op>& sequences, int64_t row) {
  int64_t low = 0;
  int64_t high = sequences.count;
  while (high - low > 1) {
    const int64_t middle = (low + high) / 2;
    (sequences.op.offsets[middle] <= row ? low : high) = middle;
  }
  return low;
}

template <class Op>
void launch_rows(void (*kernel)(RowArguments<Op>), const Op& op, int64_t rows,
                 const int32_t* live_rows, Stream& stream) {
  // More blocks than a multiprocessor holds at once would read constants again for each row.
  constexpr int64_t kBlocks = 8;
  const int64_t blocks =
      std::min(ceil_div(rows, kRowWarps), kBlocks * stream.device().multiprocessors);
  launch<RowArguments<Op>>(kernel, {blocks}, kRowWarps * kWarp, 0, stream,
                           {op, rows, live_rows, blocks * kRowWarps});
}

}  // namespace pyqrt::cuda
