// The machine of machine.h, emulated: what machine_device.h states in instructions, here as calls
// into the emulator, for the thread that is running.
#pragma once

#include <cstring>

#include "cuda/emulator/emulator.h"

namespace pyqrt::cuda {

using emulator::atomic_add_shared;
using emulator::atomic_max_shared;
using emulator::block_x;
using emulator::block_y;
using emulator::block_z;
using emulator::commit_copies;
using emulator::copy_async;
using emulator::has_async_copy;
using emulator::load_matrices;
using emulator::shared_memory;
using emulator::sync_block;
using emulator::thread_index;

template <class Value>
Value shuffle_xor(Value value, int mask) {
  emulator::shuffle_xor(&value, sizeof(Value), mask);
  return value;
}

template <class Vector>
Vector load_vector(const void* from) {
  emulator::expect_aligned(from, sizeof(Vector));
  Vector value;
  std::memcpy(&value, from, sizeof(Vector));
  return value;
}
template <class Vector>
void store_vector(void* to, const Vector& value) {
  emulator::expect_aligned(to, sizeof(Vector));
  std::memcpy(to, &value, sizeof(Vector));
}

inline uint32_t permute_bytes(uint32_t a, uint32_t b, uint32_t selector) {
  const uint64_t bytes = (uint64_t{b} << 32) | a;
  uint32_t result = 0;
  for (int i = 0; i < 4; ++i) {
    const int byte = static_cast<int>(selector >> (4 * i)) & 7;
    result |= static_cast<uint32_t>((bytes >> (8 * byte)) & 255) << (8 * i);
  }
  return result;
}

template <bool kSigned>
void mma(int32_t (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  emulator::mma(c, a, b0, b1, kSigned);
}

template <int kPending>
void copies_arrived() {
  emulator::copies_arrived(kPending);
}

}  // namespace pyqrt::cuda
