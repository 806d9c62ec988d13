#include "plan/batch_checks.h"

namespace pyqrt {
namespace {

// What `load` and `run` say of a sequence the model cannot take.
std::string sequence_text(int64_t sequence) {
  return "sequence " + std::to_string(sequence);
}

}  // namespace

void check_offsets(const Limits& limits, const int32_t* offsets, int64_t sequences,
                   int64_t tokens) {
  if (offsets[0] != 0 || offsets[sequences] != tokens) {
    throw Error("offsets must run from 0 to the number of ids, " + std::to_string(tokens) +
                ", not from " + std::to_string(offsets[0]) + " to " +
                std::to_string(offsets[sequences]));
  }
  const int64_t longest = limits.max_length;
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

void check_tokens(const Limits& limits, const int32_t* ids, const int32_t* types,
                  const int32_t* offsets, int64_t sequences) {
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

}  // namespace pyqrt
