// What the vector variants of rotary share: which pairs and columns they take together. Tables are
// loaded once for all heads of a row.
//
// `static`: translation units compiled for different instruction sets each keep their own copy.
#pragma once

#include <cstring>

#include "ops/rotary/rotary.h"

namespace pyqrt {

// turn_row(i) for the pairs of every row, then narrow(input, output, columns) for the columns of
// every head that are not turned.
template <class TurnRow, class Narrow>
static inline void rotary_rows(const RotaryArgs& args, Range rows, const TurnRow& turn_row,
                               const Narrow& narrow) {
  const int64_t rest = args.head_dim - args.rotated;
  for (int64_t i = rows.begin; i < rows.end; ++i) {
    turn_row(i);
    if (rest == 0) continue;
    for (int64_t head = 0; head < args.heads; ++head) {
      const int64_t first = head * args.head_dim + args.rotated;
      narrow(args.input + i * args.input_stride + first,
             args.output + i * args.output_stride + first, rest);
    }
  }
}

// Row i, kLanes pairs of all heads at a time: make_turn(cosine, sine) is what
// turn(turn, first, second, output, output_second) needs of the tables. What is left over of a head
// goes through a buffer.
template <int64_t kLanes, class MakeTurn, class TurnPairs>
static inline void rotary_turn_row(const RotaryArgs& args, int64_t i, const MakeTurn& make_turn,
                                   const TurnPairs& turn_pairs) {
  const int64_t half = args.rotated / 2;
  const int16_t* const cosines = args.cosine + args.position[i] * half;
  const int16_t* const sines = args.sine + args.position[i] * half;
  for (int64_t c = 0; c < half; c += kLanes) {
    const int16_t* input = args.input + i * args.input_stride + c;
    int8_t* output = args.output + i * args.output_stride + c;
    if (half - c >= kLanes) {
      const auto turn = make_turn(cosines + c, sines + c);
      for (int64_t head = 0; head < args.heads; ++head) {
        turn_pairs(turn, input, input + half, output, output + half);
        input += args.head_dim;
        output += args.head_dim;
      }
      continue;
    }
    const auto count = static_cast<std::size_t>(half - c);
    int16_t cosine[kLanes] = {};
    int16_t sine[kLanes] = {};
    std::memcpy(cosine, cosines + c, count * sizeof(int16_t));
    std::memcpy(sine, sines + c, count * sizeof(int16_t));
    const auto turn = make_turn(cosine, sine);
    int16_t first[kLanes] = {};
    int16_t second[kLanes] = {};
    int8_t turned[2][kLanes];
    for (int64_t head = 0; head < args.heads; ++head) {
      std::memcpy(first, input, count * sizeof(int16_t));
      std::memcpy(second, input + half, count * sizeof(int16_t));
      turn_pairs(turn, first, second, turned[0], turned[1]);
      std::memcpy(output, turned[0], count);
      std::memcpy(output + half, turned[1], count);
      input += args.head_dim;
      output += args.head_dim;
    }
  }
}

// narrow(input, output) for kLanes columns at a time; what is left over goes through a buffer.
template <int64_t kLanes, class Narrow>
static inline void rotary_narrow(const int16_t* input, int8_t* output, int64_t columns,
                                 const Narrow& narrow) {
  int64_t c = 0;
  for (; c + kLanes <= columns; c += kLanes) narrow(input + c, output + c);
  if (c == columns) return;
  const auto rest = static_cast<std::size_t>(columns - c);
  int16_t last[kLanes] = {};
  int8_t bytes[kLanes];
  std::memcpy(last, input + c, rest * sizeof(int16_t));
  narrow(last, bytes);
  std::memcpy(output + c, bytes, rest);
}

}  // namespace pyqrt
