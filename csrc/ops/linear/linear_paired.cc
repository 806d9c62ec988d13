#include "ops/linear/linear_paired.h"

namespace pyqrt {
namespace {

constexpr int64_t kUsualPairs = 115;  // percent, of trained weights of 384 inputs and more

PairHalf* find_pair_half(Isa isa) {
#if defined(PYQRT_X86)
  if (isa == Isa::kAvx2) return pair_half_avx2;
#endif
  static_cast<void>(isa);
  return nullptr;
}

}  // namespace

std::unique_ptr<const PairedWeight> pair_weight(Isa isa, const LinearArgs& args, int64_t most) {
  PairHalf* const pair_half = find_pair_half(isa);
  if (pair_half == nullptr) return nullptr;
  const int64_t groups = ceil_div(args.k, kLinearGroup);
  const int64_t halves = 2 * ceil_div(args.n, kLinearBlock);
  const int64_t most_pairs = groups * halves * most / 200;
  const int64_t usual_pairs = groups * halves * kUsualPairs / 200;
  std::vector<int8_t> pairs(static_cast<std::size_t>(paired_limit(groups) * PairedWeight::kBytes));
  std::vector<uint16_t> places(static_cast<std::size_t>(paired_limit(groups) * 2));
  struct alignas(32) Aligned {
    int8_t bytes[32];
  };
  std::vector<Aligned> scratch(
      static_cast<std::size_t>(ceil_div(paired_scratch_bytes(groups), sizeof(Aligned))));

  auto result = std::make_unique<PairedWeight>();
  result->weight.reserve(static_cast<std::size_t>(usual_pairs * PairedWeight::kBytes));
  result->place.reserve(static_cast<std::size_t>(usual_pairs * 2));
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
