#include "plan/pass.h"

#include <algorithm>
#include <cstring>

namespace pyqrt {
namespace {

// The part of a batch as the call has it; positions and own offsets are still to be written.
Batch batch_of(const Call& call, Range sequences) {
  const int32_t* offsets = call.offsets + sequences.begin;
  Batch batch;
  batch.sequences = sequences.size();
  batch.tokens = call.tokens(sequences);
  batch.ids = call.ids + offsets[0];
  batch.types = call.types == nullptr ? nullptr : call.types + offsets[0];
  batch.offsets = offsets;
  for (int64_t s = 0; s < batch.sequences; ++s) {
    batch.max_length = std::max<int64_t>(batch.max_length, offsets[s + 1] - offsets[s]);
  }
  return batch;
}

// Bytes of `count` numbers, in whole cache lines.
std::size_t index_bytes(int64_t count) {
  return static_cast<std::size_t>(
      round_up(count * int64_t{sizeof(int32_t)}, static_cast<int64_t>(kAlignment)));
}

}  // namespace

Pass::Pass(const Plan& plan, int threads)
    : plan_(&plan),
      threads_(threads),
      stages_(make_stages(plan.nodes())),
      views_(plan.program().buffers.size()),
      slots_(plan.arena().slots.size()) {}

std::size_t Pass::scratch_bytes(const Batch& batch) const {
  return plan_->scratch_bytes(batch.max_length);
}

std::size_t Pass::bytes(const Call& call, Range sequences) const {
  const Batch batch = batch_of(call, sequences);
  std::size_t total = 2 * index_bytes(batch.tokens) + index_bytes(batch.sequences + 1) +
                      scratch_bytes(batch) * static_cast<std::size_t>(threads_);
  for (const auto& slot : plan_->arena().slots) {
    total += static_cast<std::size_t>(slot.row_bytes * batch.rows(slot.rows));
  }
  return total;
}

void Pass::run(const Call& call, Range sequences, std::byte* memory, ThreadPool& pool) {
  const Program& program = plan_->program();
  const ArenaLayout& layout = plan_->arena();
  Batch batch = batch_of(call, sequences);
  const auto take = [&memory](std::size_t bytes) {
    std::byte* taken = memory;
    memory += bytes;
    return taken;
  };
  for (std::size_t s = 0; s < layout.slots.size(); ++s) {
    const auto& slot = layout.slots[s];
    slots_[s] = take(static_cast<std::size_t>(slot.row_bytes * batch.rows(slot.rows)));
  }
  for (std::size_t b = 0; b < views_.size(); ++b) {
    const auto element = static_cast<int64_t>(size_of(program.buffers[b].dtype));
    if (layout.slot_of[b] < 0) continue;
    const auto slot = static_cast<std::size_t>(layout.slot_of[b]);
    // Threads may be at different nodes of a stage, so what shares a slot must share its rows.
    const int64_t row_bytes = threads_ == 1 ? layout.row_bytes_of[b] : layout.slots[slot].row_bytes;
    views_[b] = {slots_[slot], row_bytes / element};
  }
  auto* positions = reinterpret_cast<int32_t*>(take(index_bytes(batch.tokens)));
  auto* types = reinterpret_cast<int32_t*>(take(index_bytes(batch.tokens)));
  auto* offsets = reinterpret_cast<int32_t*>(take(index_bytes(batch.sequences + 1)));
  for (int64_t s = 0; s <= batch.sequences; ++s) offsets[s] = batch.offsets[s] - batch.offsets[0];
  for (int64_t s = 0; s < batch.sequences; ++s) {
    for (int32_t t = offsets[s]; t < offsets[s + 1]; ++t) positions[t] = t - offsets[s];
  }
  batch.positions = positions;
  batch.offsets = offsets;
  if (batch.types == nullptr) {
    std::memset(types, 0, index_bytes(batch.tokens));
    batch.types = types;
  }
  const Context context{batch, views_.data(), memory, scratch_bytes(batch)};
  for (const Stage stage : stages_) run_stage(plan_->nodes(), stage, context, pool);
  write_outputs(call, sequences);
}

void Pass::write_outputs(const Call& call, Range sequences) const {
  const Program& program = plan_->program();
  for (std::size_t i = 0; i < program.outputs.size(); ++i) {
    const auto b = static_cast<std::size_t>(program.outputs[i].buffer);
    const BufferSpec& spec = program.buffers[b];
    const auto row_bytes = static_cast<std::size_t>(spec.width) * size_of(spec.dtype);
    const bool tokens = spec.rows == Rows::kTokens;
    const int64_t first = tokens ? call.offsets[sequences.begin] : sequences.begin;
    const int64_t count = tokens ? call.tokens(sequences) : sequences.size();
    auto* to =
        static_cast<std::byte*>(call.outputs[i]) + static_cast<std::size_t>(first) * row_bytes;
    const auto* from = views_[b].as<const std::byte>();
    const int64_t stride = views_[b].stride * static_cast<int64_t>(size_of(spec.dtype));
    for (int64_t r = 0; r < count; ++r) {
      std::memcpy(to + static_cast<std::size_t>(r) * row_bytes, from + r * stride, row_bytes);
    }
  }
}

}  // namespace pyqrt
