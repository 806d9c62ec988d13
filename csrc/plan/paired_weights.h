// The weights of a plan that its kernels want rearranged (ops/linear/linear_paired.h): each is made
// once, for all nodes that read it, when the plan has enough to do for that to be worth its time.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <vector>

#include "base/parallel.h"
#include "ops/linear/linear_paired.h"

namespace pyqrt {

class PairedWeights {
 public:
  // A weight of which something may be made.
  class Place {
   public:
    Place(Isa isa, const LinearArgs& args, bool is_mapped_file)
        : isa_(isa), args_(args), is_mapped_file_(is_mapped_file) {}
    ~Place() { delete made_.load(); }
    Place(const Place&) = delete;
    Place& operator=(const Place&) = delete;

    // What was made; null as long as nothing was, and where nothing is wanted.
    const PairedWeight* get() const { return made_.load(std::memory_order_acquire); }

    void make();
    void give_back() const;

   private:
    const Isa isa_;
    const LinearArgs args_;
    const bool is_mapped_file_;
    std::atomic<const PairedWeight*> made_{nullptr};
  };

  // The place of the weight of `args` for the kernel of `isa`. Nodes with the same weight share it.
  const Place& place(Isa isa, const LinearArgs& args, bool is_mapped_file);

  // To call before every run, with the number of its tokens. Makes everything as soon as that and
  // the runs before have kTokensBefore tokens, and gives back the pages of a mapped file that are
  // needed no more; the next call does so again, because whoever checks weights beside the first
  // run may have read them meanwhile. Any number of threads may call it; those who do so at the
  // same time do the same twice, so nothing is locked which a fork could leave locked. Never
  // throws: without memory for it a weight is used as it is.
  void prepare(ThreadPool& pool, int64_t tokens);

  // About as many tokens as save by paired weights the time that making them takes (BERT-base and
  // MiniLM-L6 with AVX2: 550, 600). So a process with one short text to run does not wait for them,
  // and none loses more than the time of making them once.
  static constexpr int64_t kTokensBefore = 512;

 private:
  std::map<const int8_t*, Place> places_;
  std::vector<Place*> all_;
  std::atomic<int64_t> tokens_{0};
  std::atomic<bool> are_made_{false};
  std::atomic<bool> were_given_back_again_{false};
};

}  // namespace pyqrt
