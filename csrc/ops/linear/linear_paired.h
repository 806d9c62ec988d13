// A weight rearranged for an instruction set that multiplies unsigned by signed bytes, adds two
// neighbouring products and saturates at 16 bits (`vpmaddubsw`).
//
// One instruction takes a group, 4 inputs, for half a block, 8 channels, and has 16 sums, each of
// two products. Two groups go together: their sums are added, still in 16 bits, and widened once.
// Inputs being at most 255, that is exact where of the 4 weights of every sum the positive ones
// add up to at most 128 and the negative ones to at least -128: 255 * 128 < 2^15. It is made so,
// for all weights in [-127, 127]:
//   1. A group's inputs are taken in the order 0 1 2 3 or 0 2 1 3, whichever has its sums in range.
//   2. Where neither has, the second weight of a sum out of range moves to another group of the
//      same inputs, which is zero otherwise.
//   3. Groups whose sums stay in range together are searched for and paired. Of two that are left
//      one passes the weights of the sums in question on, as in 2.
// Groups of zeros are left out.
#pragma once

#include <memory>
#include <vector>

#include "ops/linear/linear.h"

namespace pyqrt {

struct PairedWeight {
  static constexpr int64_t kBytes = 64;  // of a pair: [2 groups][8 channels][4 inputs]

  std::vector<int8_t> weight;   // [pairs][2][8][4]
  std::vector<uint16_t> place;  // [pairs][2]: paired_place of each group
  std::vector<int64_t> first;   // [2 * blocks + 1]: the first pair of each half block
};

// The second order of four groups' inputs.
inline constexpr int8_t kPairedOrder[16] = {0, 2, 1, 3, 4, 6, 5, 7, 8, 10, 9, 11, 12, 14, 13, 15};

// Where a group's inputs lie in packed rows, in groups.
constexpr int64_t paired_place(int64_t group, int order) {
  return 2 * group + order;
}

// The paired weight of `args` where it makes the kernel of `isa` faster, else null. It does not
// where there would be more than `most` percent of the pairs that the number of groups needs. Takes
// about as long as reading the weight from memory three times. Throws std::bad_alloc.
inline constexpr int64_t kMostPairs = 150;
std::unique_ptr<const PairedWeight> pair_weight(Isa isa, const LinearArgs& args,
                                                int64_t most = kMostPairs);

// Pairs the groups of half a block: weight [groups][2][8][4], of which the first half of each
// group counts. Writes pairs and places, at most paired_limit(groups) of them, and returns how
// many. `scratch`: paired_scratch_bytes(groups), aligned to 32 bytes.
using PairHalf = int64_t(const int8_t* weight, int64_t groups, int8_t* pairs, uint16_t* places,
                         void* scratch);
PairHalf pair_half_avx2;

// A group becomes at most two by step 2; of step 3 each pair leaves one group fewer.
constexpr int64_t paired_limit(int64_t groups) {
  return 2 * groups;
}
constexpr int64_t paired_scratch_bytes(int64_t groups) {
  return 2 * groups * 96;
}

}  // namespace pyqrt
