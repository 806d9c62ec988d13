// Where the buffers of a program lie: one block of memory, shared by buffers whose lives do not
// overlap. Its size is a line: bytes per token, bytes per sequence.
#pragma once

#include <vector>

#include "plan/program.h"

namespace pyqrt {

struct ArenaLayout {
  // A slot holds, one after the other, every buffer that is assigned to it.
  struct Slot {
    Rows rows = Rows::kTokens;
    int64_t row_bytes = 0;
  };
  std::vector<Slot> slots;
  std::vector<int> slot_of;           // by buffer; -1: never written
  std::vector<int64_t> row_bytes_of;  // by buffer, an odd multiple of kAlignment

  int64_t bytes_per_row(Rows rows) const;
};

// A buffer lives from the node that writes it to the last that reads it; outputs live to the end.
// Expects a program whose buffer numbers are checked.
ArenaLayout layout_arena(const Program& program);

}  // namespace pyqrt
