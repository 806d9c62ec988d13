#include "plan/paired_weights.h"

#include <new>
#include <vector>

namespace pyqrt {

void PairedWeights::Place::make() {
  try {
    std::unique_ptr<const PairedWeight> made = pair_weight(isa_, args_);
    const PairedWeight* none = nullptr;
    if (made_.compare_exchange_strong(none, made.get())) made.release();
  } catch (const std::bad_alloc&) {
  }
}

const PairedWeights::Place& PairedWeights::place(Isa isa, const LinearArgs& args) {
  return places_.try_emplace(args.weight, isa, args).first->second;
}

void PairedWeights::make(ThreadPool& pool) {
  if (are_made_.load(std::memory_order_acquire)) return;
  std::vector<Place*> places;
  for (auto& [weight, place] : places_) places.push_back(&place);
  pool.run(static_cast<int64_t>(places.size()),
           [&](int64_t i, int) { places[static_cast<std::size_t>(i)]->make(); });
  are_made_.store(true, std::memory_order_release);
}

}  // namespace pyqrt
