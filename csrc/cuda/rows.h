// Kernels that work row by row: a warp takes a row, its lanes take the columns in turn.
#pragma once

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
};

// Calls body(row, lane) where the warp has a row.
template <class Op, class Body>
PYQRT_DEVICE void for_row(const RowArguments<Op>& arguments, const Body& body) {
  const int64_t rows = arguments.live_rows == nullptr ? arguments.rows : *arguments.live_rows;
  const int64_t row = int64_t{block_x()} * kRowWarps + thread_index() / kWarp;
  if (row < rows) body(row, thread_index() % kWarp);
}

template <class Op>
void launch_rows(void (*kernel)(RowArguments<Op>), const Op& op, int64_t rows,
                 const int32_t* live_rows, Stream& stream) {
  launch<RowArguments<Op>>(kernel, {ceil_div(rows, kRowWarps)}, kRowWarps * kWarp, 0, stream,
                           {op, rows, live_rows});
}

}  // namespace pyqrt::cuda
