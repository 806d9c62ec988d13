// The machine of machine.h, emulated: what machine_device.h states in instructions, here as calls
// into the emulator, for the thread that is running.
#pragma once

#include <cstring>

#include "cuda/emulator/emulator.h"

namespace pyqrt::cuda {

using emulator::block_x;
using emulator::block_y;
using emulator::block_z;
using emulator::commit_copies;
using emulator::copy_async;
using emulator::has_async_copy;
using emulator::has_warpgroup;
using emulator::load_matrices;
using emulator::shared_memory;
using emulator::sync_block;
using emulator::thread_index;
using emulator::warpgroup_wait;

template <class Value>
Value shuffle_xor(Value value, int mask) {
  emulator::shuffle_xor(&value, sizeof(Value), mask);
  return value;
}

inline int32_t warp_sum(int32_t value) {
  for (int mask = 16; mask > 0; mask /= 2) value += shuffle_xor(value, mask);
  return value;
}

inline void wait_for_kernel_before() {}

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

inline int64_t multiply_add_wide(int32_t a, int32_t b, int64_t c) {
  return int64_t{a} * b + c;
}

inline int32_t add_bytes(uint32_t word, int32_t sum) {
  for (int i = 0; i < 4; ++i) sum += static_cast<int32_t>(word >> (8 * i) & 255);
  return sum;
}

template <bool kSigned>
void mma(int32_t (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  emulator::mma(c, a, b0, b1, kSigned);
}

inline const void* matrix_descriptor(const void* row) {
  return row;
}
inline void show_to_tensor_cores() {}
inline void warpgroup_begin() {}
template <int kColumns>
void warpgroup_multiply(int32_t (&c)[kColumns / 2], const uint32_t (&a)[4], const void* b) {
  emulator::warpgroup_multiply(c, a, b, kColumns);
}

template <int kPending>
void copies_arrived() {
  emulator::copies_arrived(kPending);
}

}  // namespace pyqrt::cuda
