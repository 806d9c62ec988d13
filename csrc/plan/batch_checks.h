// What is checked of a batch before a session runs it, on any device.
#pragma once

#include "plan/program.h"

namespace pyqrt {

// offsets [sequences + 1] run from 0 to `tokens`, and every sequence has a length the model takes.
// Throws Error naming the sequence.
void check_offsets(const Limits& limits, const int32_t* offsets, int64_t sequences, int64_t tokens);

// ids, and types unless null, are within the model's tables; offsets are checked. Throws Error
// naming the sequence and the position.
void check_tokens(const Limits& limits, const int32_t* ids, const int32_t* types,
                  const int32_t* offsets, int64_t sequences);

}  // namespace pyqrt
