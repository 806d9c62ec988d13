#include "plan/session.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

namespace pyqrt {
namespace {

constexpr auto kLine = static_cast<int64_t>(kAlignment);

// What `load` and `run` say of a sequence the model cannot take.
std::string sequence_text(int64_t sequence) {
  return "sequence " + std::to_string(sequence);
}

}  // namespace

void Session::FreeAligned::operator()(std::byte* memory) const {
  std::free(memory);
}

Session::Session(std::shared_ptr<const Plan> plan, int threads)
    : plan_(std::move(plan)), pool_(threads == 0 ? available_cpus() : threads) {
  views_.resize(plan_->program().buffers.size());
  slots_.resize(plan_->arena().slots.size());
  stages_ = make_stages(plan_->nodes());
}

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
  for (int64_t first = 0; first < sequences;) {
    int64_t last = first + 1;
    while (last < sequences && offsets[last + 1] - offsets[first] <= kPassTokens) ++last;
    Batch batch;
    batch.sequences = last - first;
    batch.tokens = offsets[last] - offsets[first];
    batch.ids = ids + offsets[first];
    batch.types = types == nullptr ? nullptr : types + offsets[first];
    batch.offsets = offsets + first;
    run_pass(batch, outputs, offsets[first], first);
    first = last;
  }
}

void Session::run_pass(Batch batch, void* const* outputs, int64_t first_token,
                       int64_t first_sequence) {
  const Program& program = plan_->program();
  const ArenaLayout& layout = plan_->arena();
  const int32_t* offsets = batch.offsets;
  for (int64_t s = 0; s < batch.sequences; ++s) {
    batch.max_length = std::max<int64_t>(batch.max_length, offsets[s + 1] - offsets[s]);
  }
  const bool needs_types = batch.types == nullptr;
  const int64_t index_bytes = round_up(batch.tokens * int64_t{sizeof(int32_t)}, kLine);
  const int64_t offset_bytes = round_up((batch.sequences + 1) * int64_t{sizeof(int32_t)}, kLine);
  const std::size_t scratch_stride = plan_->scratch_bytes(batch.max_length);
  int64_t total =
      2 * index_bytes + offset_bytes + static_cast<int64_t>(scratch_stride) * pool_.threads();
  for (const auto& slot : layout.slots) total += slot.row_bytes * batch.rows(slot.rows);
  reserve(static_cast<std::size_t>(total));

  std::byte* next = arena_.get();
  const auto take = [&next](int64_t bytes) {
    std::byte* memory = next;
    next += bytes;
    return memory;
  };
  for (std::size_t s = 0; s < layout.slots.size(); ++s) {
    slots_[s] = take(layout.slots[s].row_bytes * batch.rows(layout.slots[s].rows));
  }
  for (std::size_t b = 0; b < views_.size(); ++b) {
    const auto element = static_cast<int64_t>(size_of(program.buffers[b].dtype));
    if (layout.slot_of[b] < 0) continue;
    const auto slot = static_cast<std::size_t>(layout.slot_of[b]);
    // Threads may be at different nodes of a stage, so what shares a slot must share its rows.
    const int64_t row_bytes =
        pool_.threads() == 1 ? layout.row_bytes_of[b] : layout.slots[slot].row_bytes;
    views_[b] = {slots_[slot], row_bytes / element};
  }
  auto* positions = reinterpret_cast<int32_t*>(take(index_bytes));
  auto* types = reinterpret_cast<int32_t*>(take(index_bytes));
  auto* pass_offsets = reinterpret_cast<int32_t*>(take(offset_bytes));
  for (int64_t s = 0; s < batch.sequences; ++s) {
    for (int32_t t = offsets[s]; t < offsets[s + 1]; ++t)
      positions[t - offsets[0]] = t - offsets[s];
  }
  for (int64_t s = 0; s <= batch.sequences; ++s) pass_offsets[s] = offsets[s] - offsets[0];
  if (needs_types) std::memset(types, 0, static_cast<std::size_t>(index_bytes));
  batch.positions = positions;
  batch.offsets = pass_offsets;
  if (needs_types) batch.types = types;

  const Context context{batch, views_.data(), next, scratch_stride};
  for (const Stage stage : stages_) run_stage(plan_->nodes(), stage, context, pool_);

  for (std::size_t i = 0; i < program.outputs.size(); ++i) {
    const auto b = static_cast<std::size_t>(program.outputs[i].buffer);
    const BufferSpec& spec = program.buffers[b];
    const std::size_t row_bytes = static_cast<std::size_t>(spec.width) * size_of(spec.dtype);
    const int64_t first = spec.rows == Rows::kTokens ? first_token : first_sequence;
    auto* to = static_cast<std::byte*>(outputs[i]) + static_cast<std::size_t>(first) * row_bytes;
    const auto* from = views_[b].as<const std::byte>();
    const int64_t stride = views_[b].stride * static_cast<int64_t>(size_of(spec.dtype));
    for (int64_t r = 0; r < batch.rows(spec.rows); ++r) {
      std::memcpy(to + static_cast<std::size_t>(r) * row_bytes, from + r * stride, row_bytes);
    }
  }
}

}  // namespace pyqrt
