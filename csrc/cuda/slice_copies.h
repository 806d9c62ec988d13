// Slices of rows of bytes on their way to shared memory: a block copies the next ones while it
// works on those that are there.
#pragma once

#include "cuda/machine.h"

namespace pyqrt::cuda {

// kRows rows, in slices of kVectors vectors of 16 bytes. A thread copies the same vector of every
// kStep-th row in each slice, so that little but the copy itself is left to do.
template <int kRows, int kVectors, int kThreads>
class SliceCopies {
 public:
  static constexpr int kStep = kThreads / kVectors;
  static constexpr int kCopies = kRows / kStep;
  static_assert(kThreads % kVectors == 0 && kRows % kStep == 0);

  // `live` of the rows exist, `pitch` bytes apart from `from` on, `bytes` of each. Zeros take the
  // place of everything else.
  PYQRT_MEMBER SliceCopies(const void* from, int64_t pitch, int64_t live, int64_t bytes)
      : row_(thread_index() / kVectors),
        vector_(thread_index() % kVectors),
        from_(static_cast<const uint8_t*>(from) + row_ * pitch + 16 * vector_),
        pitch_(pitch),
        live_(live),
        bytes_(bytes),
        aligned_(reinterpret_cast<uintptr_t>(from) % 16 == 0 && pitch % 16 == 0 &&
                 bytes % 16 == 0) {}

  // place(row, vector) is where a vector of the slice goes.
  template <class Place>
  PYQRT_MEMBER void begin(int slice, const Place& place) {
    const int64_t offset = int64_t{slice} * (16 * kVectors);
    const int64_t there = bytes_ - offset - 16 * vector_;
    if (!aligned_) {
      copy_bytes(offset, there, place);
      return;
    }
    PYQRT_UNROLL
    for (int i = 0; i < kCopies; ++i) {
      const bool exists = there > 0 && row_ + i * kStep < live_;
      const uint8_t* from = from_ + i * kStep * pitch_ + offset;
      if (has_async_copy()) {
        copy_async(place(row_ + i * kStep, vector_), from, exists ? 16 : 0);
      } else {
        waiting_[i] = exists ? load_vector<Vector16>(from) : Vector16{};
      }
    }
  }

  // Before sm_80 copies wait in registers. Visible after copies_arrived() and a barrier.
  template <class Place>
  PYQRT_MEMBER void finish(const Place& place) {
    if (!has_async_copy() && aligned_) {
      PYQRT_UNROLL
      for (int i = 0; i < kCopies; ++i) {
        store_vector(place(row_ + i * kStep, vector_), waiting_[i]);
      }
    }
  }

 private:
  template <class Place>
  PYQRT_MEMBER void copy_bytes(int64_t offset, int64_t there, const Place& place) {
    const int bytes = there < 0 ? 0 : there > 16 ? 16 : static_cast<int>(there);
    PYQRT_NO_UNROLL
    for (int i = 0; i < kCopies; ++i) {
      const int row = row_ + i * kStep;
      store_vector(place(row, vector_),
                   load_partial(from_ + i * kStep * pitch_ + offset, row < live_ ? bytes : 0));
    }
  }

  int row_;
  int vector_;
  const uint8_t* from_;
  int64_t pitch_;
  int64_t live_;
  int64_t bytes_;
  bool aligned_;
  Vector16 waiting_[kCopies];
};

}  // namespace pyqrt::cuda
