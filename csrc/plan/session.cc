#include "plan/session.h"

#include <algorithm>
#include <cstdlib>

namespace pyqrt {
namespace {

// What `load` and `run` say of a sequence the model cannot take.
std::string sequence_text(int64_t sequence) {
  return "sequence " + std::to_string(sequence);
}

}  // namespace

void Session::FreeAligned::operator()(std::byte* memory) const {
  std::free(memory);
}

Session::Session(std::shared_ptr<const Plan> plan, int threads, Parallel parallel)
    : plan_(std::move(plan)),
      pool_(threads == 0 ? available_cpus() : threads),
      alone_(1),
      parallel_(parallel),
      passes_(parallel == Parallel::kRows ? 1 : static_cast<std::size_t>(pool_.threads()),
              Pass(*plan_, parallel == Parallel::kRows ? pool_.threads() : 1)) {}

void Session::reserve(std::size_t bytes) {
  if (bytes <= capacity_) return;
  arena_.reset();
  capacity_ = 0;
  auto* memory = static_cast<std::byte*>(std::aligned_alloc(kAlignment, bytes));
  if (memory == nullptr) {
    throw Error("this batch needs " + std::to_string(bytes) +
                " bytes of working memory, which the system does not give; use shorter texts, "
                "fewer threads, or raise the memory limit");
  }
  arena_.reset(memory);
  capacity_ = bytes;
}

void Session::check_offsets(const int32_t* offsets, int64_t sequences, int64_t tokens) const {
  if (offsets[0] != 0 || offsets[sequences] != tokens) {
    throw Error("offsets must run from 0 to the number of ids, " + std::to_string(tokens) +
                ", not from " + std::to_string(offsets[0]) + " to " +
                std::to_string(offsets[sequences]));
  }
  const int64_t longest = plan_->program().limits.max_length;
  for (int64_t s = 0; s < sequences; ++s) {
    const int64_t length = int64_t{offsets[s + 1]} - offsets[s];
    if (length < 1) {
      throw Error(sequence_text(s) + " has " + std::to_string(length) +
                  " tokens; a sequence needs at least 1");
    }
    if (length > longest) {
      throw Error(sequence_text(s) + " has " + std::to_string(length) +
                  " tokens; the model takes at most " + std::to_string(longest) +
                  ": shorten or truncate it");
    }
  }
}

void Session::check_tokens(const int32_t* ids, const int32_t* types, const int32_t* offsets,
                           int64_t sequences) const {
  const Limits& limits = plan_->program().limits;
  for (int64_t s = 0; s < sequences; ++s) {
    for (int64_t t = offsets[s]; t < offsets[s + 1]; ++t) {
      if (ids[t] < 0 || ids[t] >= limits.vocab_size) {
        throw Error(sequence_text(s) + " holds token id " + std::to_string(ids[t]) +
                    " at position " + std::to_string(t - offsets[s]) +
                    "; the vocabulary has ids 0 to " + std::to_string(limits.vocab_size - 1));
      }
      if (types != nullptr && (types[t] < 0 || types[t] >= limits.type_vocab_size)) {
        throw Error(sequence_text(s) + " holds token type " + std::to_string(types[t]) +
                    " at position " + std::to_string(t - offsets[s]) +
                    "; the model has types 0 to " + std::to_string(limits.type_vocab_size - 1));
      }
    }
  }
}

void Session::run(const int32_t* ids, const int32_t* types, const int32_t* offsets,
                  int64_t sequences, void* const* outputs) {
  const std::lock_guard<std::mutex> lock(mutex_);
  check_offsets(offsets, sequences, offsets[sequences]);
  check_tokens(ids, types, offsets, sequences);
  const Call call{ids, types, offsets, outputs};
  if (parallel_ == Parallel::kRows) {
    run_rows(call, sequences);
  } else {
    run_texts(call, sequences);
  }
}

void Session::run_rows(const Call& call, int64_t sequences) {
  cut_passes(call.offsets, sequences, parts_);
  for (const Range part : parts_) {
    reserve(passes_[0].bytes(call, part));
    passes_[0].run(call, part, arena_.get(), pool_);
  }
}

void Session::run_texts(const Call& call, int64_t sequences) {
  cut_shares(call.offsets, sequences, threads(), parts_);
  std::size_t bytes = 0;
  for (const Range part : parts_) bytes = std::max(bytes, passes_[0].bytes(call, part));
  reserve(bytes * passes_.size());
  pool_.run(static_cast<int64_t>(parts_.size()), [&](int64_t i, int worker) {
    const auto w = static_cast<std::size_t>(worker);
    passes_[w].run(call, parts_[static_cast<std::size_t>(i)], arena_.get() + w * bytes, alone_);
  });
}

}  // namespace pyqrt
