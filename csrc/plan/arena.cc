#include "plan/arena.h"

#include <algorithm>

namespace pyqrt {
namespace {

// Whole cache lines, of an odd number: rows one below the other then use all sets of a cache.
int64_t row_bytes(const BufferSpec& spec) {
  const int64_t bytes = spec.width * static_cast<int64_t>(size_of(spec.dtype));
  const int64_t lines = ceil_div(bytes, static_cast<int64_t>(kAlignment));
  return (lines | 1) * static_cast<int64_t>(kAlignment);
}

}  // namespace

int64_t ArenaLayout::bytes_per_row(Rows rows) const {
  int64_t total = 0;
  for (const Slot& slot : slots) {
    if (slot.rows == rows) total += slot.row_bytes;
  }
  return total;
}

ArenaLayout layout_arena(const Program& program) {
  const std::size_t buffers = program.buffers.size();
  const std::size_t nodes = program.nodes.size();
  std::vector<std::size_t> last_use(buffers, 0);
  for (std::size_t i = 0; i < nodes; ++i) {
    for (const auto* list : {&program.nodes[i].inputs, &program.nodes[i].outputs}) {
      for (int64_t b : *list) last_use[static_cast<std::size_t>(b)] = i;
    }
  }
  for (const OutputSpec& output : program.outputs) {
    last_use[static_cast<std::size_t>(output.buffer)] = nodes;
  }

  ArenaLayout layout;
  layout.slot_of.assign(buffers, -1);
  layout.row_bytes_of.assign(buffers, 0);
  std::vector<std::size_t> busy_until;  // by slot: last node that needs what is in it
  for (std::size_t i = 0; i < nodes; ++i) {
    for (int64_t number : program.nodes[i].outputs) {
      const auto b = static_cast<std::size_t>(number);
      const BufferSpec& spec = program.buffers[b];
      const int64_t need = row_bytes(spec);
      // The free slot that fits best: the smallest large enough, else the largest.
      int best = -1;
      for (std::size_t s = 0; s < layout.slots.size(); ++s) {
        if (layout.slots[s].rows != spec.rows || busy_until[s] >= i) continue;
        const int64_t size = layout.slots[s].row_bytes;
        const int64_t best_size =
            best < 0 ? -1 : layout.slots[static_cast<std::size_t>(best)].row_bytes;
        const bool better =
            best < 0 || (best_size < need ? size > best_size : size >= need && size < best_size);
        if (better) best = static_cast<int>(s);
      }
      if (best < 0) {
        best = static_cast<int>(layout.slots.size());
        layout.slots.push_back({spec.rows, 0});
        busy_until.push_back(0);
      }
      auto& slot = layout.slots[static_cast<std::size_t>(best)];
      slot.row_bytes = std::max(slot.row_bytes, need);
      busy_until[static_cast<std::size_t>(best)] = last_use[b];
      layout.slot_of[b] = best;
      layout.row_bytes_of[b] = need;
    }
  }
  return layout;
}

}  // namespace pyqrt
