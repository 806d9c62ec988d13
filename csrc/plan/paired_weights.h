// The weights of a plan that its kernels want rearranged (ops/linear/linear_paired.h): each is made
// once, before the first run, for all nodes that read it.
#pragma once

#include <atomic>
#include <map>
#include <memory>

#include "base/parallel.h"
#include "ops/linear/linear_paired.h"

namespace pyqrt {

class PairedWeights {
 public:
  // A weight of which something may be made.
  class Place {
   public:
    Place(Isa isa, const LinearArgs& args) : isa_(isa), args_(args) {}
    ~Place() { delete made_.load(); }
    Place(const Place&) = delete;
    Place& operator=(const Place&) = delete;

    // What was made; null as long as nothing was, and where nothing is wanted.
    const PairedWeight* get() const { return made_.load(std::memory_order_acquire); }

    void make();

   private:
    const Isa isa_;
    const LinearArgs args_;
    std::atomic<const PairedWeight*> made_{nullptr};
  };

  // The place of the weight of `args` for the kernel of `isa`. Nodes with the same weight share it.
  const Place& place(Isa isa, const LinearArgs& args);

  // Makes everything, once. Any number of threads may call it; those who do so at the same time do
  // the same twice, so nothing is locked which a fork could leave locked. Never throws: without
  // memory for it a weight is used as it is.
  void make(ThreadPool& pool);

 private:
  std::map<const int8_t*, Place> places_;
  std::atomic<bool> are_made_{false};
};

}  // namespace pyqrt
