// The right operand of a product in shared memory, in the layout of weights in a model file:
// [blocks of 16 channels][groups of 4 inputs][16][4] bytes. One 16-byte vector, four channels of
// one group, is a word of the B fragments of four mma of 8 channels each: of 32 neighbouring
// channels, mma j has channels j, 4 + j, 8 + j, ... so that
//   a lane's vector (group `member` of 4, channels 4 `group` ...) is its B word of j = 0 .. 3, and
//   its accumulators of all four are eight neighbouring channels, 8 `member` ...
#pragma once

#include "cuda/machine.h"

namespace pyqrt::cuda {

inline constexpr int kChannels = 32;  // of four mma
inline constexpr int kDepth = 32;     // inputs of one mma

// Accumulators of 16 rows and 32 channels: [j][element of C].
struct Accumulator {
  int32_t value[4][4];
};

// Element e of C of mma j is row (e / 2) * 8 + group and, of the 32 channels,
PYQRT_DEVICE constexpr int channel_of(int j, int e, int member) {
  return 8 * member + 4 * (e % 2) + j;
}

// Where a vector lies. Groups two apart would meet in the same banks; they swap halves.
template <int kGroups>
PYQRT_DEVICE int vector_index(int block, int group, int quarter) {
  return (block * kGroups + group) * 4 + (quarter ^ (group & 2));
}

// The B words of inputs `step` * 32 ... and 32 channels, for [..][kGroups][16][4] at `shared`.
struct OperandB {
  Vector16 low;   // word j: inputs 0 to 15 of mma j
  Vector16 high;  // inputs 16 to 31
};
template <int kGroups>
PYQRT_DEVICE OperandB load_b(const uint8_t* shared, int channels, int step, Lane lane) {
  const int block = channels * 2 + lane.group / 4;
  const int quarter = lane.group % 4;
  const int group = step * 8 + lane.member;
  return {load_vector<Vector16>(shared + 16 * vector_index<kGroups>(block, group, quarter)),
          load_vector<Vector16>(shared + 16 * vector_index<kGroups>(block, group + 4, quarter))};
}

// c += A B for 16 rows and 32 channels.
template <bool kSigned>
PYQRT_DEVICE void multiply(Accumulator& c, const uint32_t (&a)[4], const OperandB& b) {
  PYQRT_UNROLL
  for (int j = 0; j < 4; ++j) mma<kSigned>(c.value[j], a, b.low.word[j], b.high.word[j]);
}

}  // namespace pyqrt::cuda
