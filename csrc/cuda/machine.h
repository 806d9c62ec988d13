// What kernels may ask of the machine: who am I, shared memory, barriers, matrix products. The same
// kernel text is compiled twice: by nvcc, where these are instructions, and by the host compiler,
// where they are functions of an emulator (emulator/emulator.h) that runs every thread of a block
// and checks what a GPU would not: lanes that diverge, barriers not met, misaligned vectors,
// asynchronous copies read too early.
#pragma once

#include <cstddef>
#include <cstdint>

#ifdef __CUDACC__
#define PYQRT_GLOBAL static __global__
#define PYQRT_BOUNDS(threads, blocks) __launch_bounds__(threads, blocks)
#define PYQRT_DEVICE static __device__ __forceinline__
#define PYQRT_NOINLINE static __device__ __noinline__
#define PYQRT_MEMBER __device__ __forceinline__
#define PYQRT_STATIC_MEMBER static __device__ __forceinline__
#define PYQRT_UNROLL _Pragma("unroll")
#define PYQRT_NO_UNROLL _Pragma("unroll 1")
#include "cuda/machine_device.h"
#else
#define PYQRT_GLOBAL static
#define PYQRT_BOUNDS(threads, blocks)
#define PYQRT_DEVICE static inline
#define PYQRT_NOINLINE static
#define PYQRT_MEMBER inline
#define PYQRT_STATIC_MEMBER static inline
#define PYQRT_UNROLL
#define PYQRT_NO_UNROLL
#include "cuda/emulator/machine_emulator.h"
#endif

namespace pyqrt::cuda {

inline constexpr int kWarp = 32;

// 16 bytes that move together.
struct alignas(16) Vector16 {
  uint32_t word[4];
};

// A lane's place in an mma fragment (PTX ISA, "Matrix fragments for mma.m16n8k32"):
//   A, 16 x 32 bytes:  word i is row (i % 2) * 8 + group, columns (i / 2) * 16 + 4 member ...
//   B, 32 x 8 bytes:   word i is rows i * 16 + 4 member ..., column group
//   C, 16 x 8 int32:   element i is row (i / 2) * 8 + group, column 2 member + i % 2
struct Lane {
  int group;   // 0 to 7
  int member;  // 0 to 3
};
PYQRT_DEVICE Lane lane_of(int thread) {
  return {(thread % kWarp) / 4, thread % 4};
}

// The sum or the largest over `width` neighbouring lanes, known to all of them.
template <int kWidth, class Value>
PYQRT_DEVICE Value reduce_sum(Value value) {
  for (int mask = kWidth / 2; mask > 0; mask /= 2) value += shuffle_xor(value, mask);
  return value;
}
template <int kWidth, class Value>
PYQRT_DEVICE Value reduce_max(Value value) {
  for (int mask = kWidth / 2; mask > 0; mask /= 2) {
    const Value other = shuffle_xor(value, mask);
    value = value > other ? value : other;
  }
  return value;
}

// The low 16 bytes of `from`, of which `bytes` are there to read; the others become zeros. What
// cannot be read as one vector is read byte by byte.
PYQRT_DEVICE Vector16 load_partial(const void* from, int bytes) {
  if (bytes == 16 && reinterpret_cast<uintptr_t>(from) % 16 == 0) {
    return load_vector<Vector16>(from);
  }
  Vector16 value = {};
  const auto* source = static_cast<const uint8_t*>(from);
  PYQRT_UNROLL
  for (int i = 0; i < 16; ++i) {
    if (i < bytes) value.word[i / 4] |= uint32_t{source[i]} << (8 * (i % 4));
  }
  return value;
}

}  // namespace pyqrt::cuda
