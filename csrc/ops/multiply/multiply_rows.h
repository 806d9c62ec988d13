// What the vector variants of multiply share: which rows and columns they take together. A few rows
// share what requantization derives from the multipliers and shifts of a column.
//
// `static`: translation units compiled for different instruction sets each keep their own copy.
#pragma once

#include <cstring>

#include "ops/multiply/multiply.h"

namespace pyqrt {

// multiply(args, rows, output) for every few rows, with the output that is wanted.
template <class Multiply>
static inline void multiply_rows(const MultiplyArgs& args, Range rows, const Multiply& multiply) {
  constexpr int64_t kRows = 4;
  for (int64_t i = rows.begin; i < rows.end; i += kRows) {
    const Range few{i, rows.end - i < kRows ? rows.end : i + kRows};
    if (args.output8 != nullptr) {
      multiply(args, few, args.output8);
    } else {
      multiply(args, few, args.output16);
    }
  }
}

// kLanes columns at a time: make_columns(multiplier, shift) is what step(columns, a, b, output)
// needs of them. Columns that are left over go through a buffer. The arguments are a copy, which no
// store of an int8 could alter.
template <int64_t kLanes, class Output, class MakeColumns, class Step>
static inline void multiply_columns(MultiplyArgs args, Range rows, Output* output,
                                    const MakeColumns& make_columns, const Step& step) {
  const int64_t whole = args.width / kLanes * kLanes;
  for (int64_t c = 0; c < whole; c += kLanes) {
    const auto columns = make_columns(args.multiplier + c, args.shift + c);
    for (int64_t i = rows.begin; i < rows.end; ++i) {
      step(columns, args.a + i * args.a_stride + c, args.b + i * args.b_stride + c,
           output + i * args.output_stride + c);
    }
  }
  if (whole == args.width) return;
  const auto rest = static_cast<std::size_t>(args.width - whole);
  int32_t multiplier[kLanes] = {};
  int32_t shift[kLanes] = {};
  std::memcpy(multiplier, args.multiplier + whole, rest * sizeof(int32_t));
  std::memcpy(shift, args.shift + whole, rest * sizeof(int32_t));
  const auto columns = make_columns(multiplier, shift);
  int16_t a[kLanes] = {};
  int16_t b[kLanes] = {};
  Output last[kLanes];
  for (int64_t i = rows.begin; i < rows.end; ++i) {
    std::memcpy(a, args.a + i * args.a_stride + whole, rest * sizeof(int16_t));
    std::memcpy(b, args.b + i * args.b_stride + whole, rest * sizeof(int16_t));
    step(columns, a, b, last);
    std::memcpy(output + i * args.output_stride + whole, last, rest * sizeof(Output));
  }
}

}  // namespace pyqrt
