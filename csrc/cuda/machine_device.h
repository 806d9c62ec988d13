// The machine of machine.h, on a GPU. Instructions: PTX ISA, "Warp-level matrix instructions" and
// "cp.async".
#pragma once

namespace pyqrt::cuda {

PYQRT_DEVICE int thread_index() {
  return static_cast<int>(threadIdx.x);
}
PYQRT_DEVICE int block_x() {
  return static_cast<int>(blockIdx.x);
}
PYQRT_DEVICE int block_y() {
  return static_cast<int>(blockIdx.y);
}
PYQRT_DEVICE int block_z() {
  return static_cast<int>(blockIdx.z);
}

// The block's dynamic shared memory, aligned to 16 bytes.
PYQRT_DEVICE uint8_t* shared_memory() {
  extern __shared__ __align__(16) uint8_t pyqrt_shared[];
  return pyqrt_shared;
}
PYQRT_DEVICE uint32_t shared_address(const void* pointer) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(pointer));
}

PYQRT_DEVICE void sync_block() {
  __syncthreads();
}

template <class Value>
PYQRT_DEVICE Value shuffle_xor(Value value, int mask) {
  return __shfl_xor_sync(0xffffffffu, value, mask);
}

// Vectors must be aligned to their size.
template <class Vector>
PYQRT_DEVICE Vector load_vector(const void* from) {
  return *static_cast<const Vector*>(from);
}
template <class Vector>
PYQRT_DEVICE void store_vector(void* to, const Vector& value) {
  *static_cast<Vector*>(to) = value;
}

// The bytes of {a, b} that the nibbles of `selector` name, the lowest first.
PYQRT_DEVICE uint32_t permute_bytes(uint32_t a, uint32_t b, uint32_t selector) {
  return __byte_perm(a, b, selector);
}

PYQRT_DEVICE void atomic_add_shared(int32_t* to, int32_t value) {
  atomicAdd(to, value);
}
PYQRT_DEVICE void atomic_max_shared(int32_t* to, int32_t value) {
  atomicMax(to, value);
}

// Four 8 x 16-byte matrices from shared memory; lane l names row l % 8 of matrix l / 8. Word i is
// row l / 4, bytes 4 (l % 4) ... of matrix i.
PYQRT_DEVICE void load_matrices(uint32_t (&word)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(word[0]), "=r"(word[1]), "=r"(word[2]), "=r"(word[3])
               : "r"(shared_address(row))
               : "memory");
}

// c += A B for a tile of 16 x 32 x 8; A signed or unsigned bytes, B signed. Before sm_80 as four
// products of 8 x 16 x 8, whose fragments are the words of the large one.
#define PYQRT_MMA_LARGE(type)                                                   \
  asm("mma.sync.aligned.m16n8k32.row.col.s32." type                             \
      ".s8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};" \
      : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3])                          \
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1))
#define PYQRT_MMA_SMALL(type, row, k, b)                                                     \
  asm("mma.sync.aligned.m8n8k16.row.col.s32." type ".s8.s32 {%0, %1}, {%2}, {%3}, {%0, %1};" \
      : "+r"(c[2 * (row)]), "+r"(c[2 * (row) + 1])                                           \
      : "r"(a[2 * (k) + (row)]), "r"(b))
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800
#define PYQRT_MMA(type) PYQRT_MMA_LARGE(type)
#else
#define PYQRT_MMA(type)            \
  PYQRT_MMA_SMALL(type, 0, 0, b0); \
  PYQRT_MMA_SMALL(type, 1, 0, b0); \
  PYQRT_MMA_SMALL(type, 0, 1, b1); \
  PYQRT_MMA_SMALL(type, 1, 1, b1)
#endif

template <bool kSigned>
PYQRT_DEVICE void mma(int32_t (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  if constexpr (kSigned) {
    PYQRT_MMA("s8");
  } else {
    PYQRT_MMA("u8");
  }
}

#undef PYQRT_MMA
#undef PYQRT_MMA_LARGE
#undef PYQRT_MMA_SMALL

constexpr bool has_async_copy() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  return true;
#else
  return false;
#endif
}

// 16 bytes from global to shared memory, both aligned; the first `bytes` (1 to 16) are read, the
// rest become zeros.
PYQRT_DEVICE void copy_async(void* to, const void* from, int bytes) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)),
               "l"(__cvta_generic_to_global(from)), "r"(bytes)
               : "memory");
#endif
}

// Closes a group of this thread's copies.
PYQRT_DEVICE void commit_copies() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}

// All groups of this thread but the last `kPending` have arrived.
template <int kPending>
PYQRT_DEVICE void copies_arrived() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
#endif
}

}  // namespace pyqrt::cuda
