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

// How the kernel of `isa` wants its weights paired; null if not at all.
inline PairHalf* find_pair_half([[maybe_unused]] Isa isa) {
#if defined(PYQRT_X86)
  if (isa == Isa::kAvx2) return pair_half_avx2;
#endif
  return nullptr;
}

// The paired weight of `args` where it makes the kernel of `isa` faster, else null. It does not
// where there would be more than `most` percent of the pairs that the number of groups needs. Takes
// a nanosecond or two a weight. Throws std::bad_alloc.
//
// Inline, because it allocates: no object of a kernel may hold a function that others share.
inline constexpr int64_t kMostPairs = 150;
inline std::unique_ptr<const PairedWeight> pair_weight(Isa isa, const LinearArgs& args,
                                                       int64_t most = kMostPairs) {
  constexpr int64_t kUsualPairs = 115;  // percent, of trained weights of 384 inputs and more
  PairHalf* const pair_half = find_pair_half(isa);
  if (pair_half == nullptr) return nullptr;
  const int64_t groups = ceil_div(args.k, kLinearGroup);
  const int64_t halves = 2 * ceil_div(args.n, kLinearBlock);
  const int64_t most_pairs = groups * halves * most / 200;
  const auto limit = static_cast<std::size_t>(paired_limit(groups));
  std::vector<int8_t> pairs(limit * PairedWeight::kBytes);
  std::vector<uint16_t> places(limit * 2);
  struct alignas(32) Aligned {
    int8_t bytes[32];
  };
  std::vector<Aligned> scratch(static_cast<std::size_t>(paired_scratch_bytes(groups)) /
                               sizeof(Aligned));

  auto result = std::make_unique<PairedWeight>();
  const auto usual = static_cast<std::size_t>(groups * halves * kUsualPairs / 200);
  result->weight.reserve(usual * PairedWeight::kBytes);
  result->place.reserve(usual * 2);
  result->first.push_back(0);
  for (int64_t half = 0; half < halves; ++half) {
    const int8_t* const weight = args.weight + half / 2 * groups * kLinearBlock * kLinearGroup +
                                 half % 2 * PairedWeight::kBytes / 2;
    const int64_t count = pair_half(weight, groups, pairs.data(), places.data(), scratch.data());
    if (result->first.back() + count > most_pairs) return nullptr;
    result->first.push_back(result->first.back() + count);
    result->weight.insert(result->weight.end(), pairs.begin(),
                          pairs.begin() + count * PairedWeight::kBytes);
    result->place.insert(result->place.end(), places.begin(), places.begin() + count * 2);
  }
  return result;
}

}  // namespace pyqrt
