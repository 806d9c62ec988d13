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

// The block's dynamic shared memory, aligned to 1024 bytes.
PYQRT_DEVICE uint8_t* shared_memory() {
  extern __shared__ __align__(1024) uint8_t pyqrt_shared[];
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

// The sum over a warp; it must fit.
PYQRT_DEVICE int32_t warp_sum(int32_t value) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  return __reduce_add_sync(0xffffffffu, value);
#else
  for (int mask = 16; mask > 0; mask /= 2) value += shuffle_xor(value, mask);
  return value;
#endif
}

// A kernel may begin while the one before it in a recording still runs. Nothing that others write
// may be read, and nothing that others read written, before this returns: the kernel before has
// ended, and what it wrote is there. From compute capability 9.0 on; earlier, kernels do not
// overlap. PTX ISA, "griddepcontrol".
PYQRT_DEVICE void wait_for_kernel_before() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
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

// a * b + c, one instruction.
PYQRT_DEVICE int64_t multiply_add_wide(int32_t a, int32_t b, int64_t c) {
  int64_t sum;
  asm("mad.wide.s32 %0, %1, %2, %3;" : "=l"(sum) : "r"(a), "r"(b), "l"(c));
  return sum;
}

// `sum` and the four unsigned bytes of `word`.
PYQRT_DEVICE int32_t add_bytes(uint32_t word, int32_t sum) {
  return static_cast<int32_t>(__dp4a(word, 0x01010101u, static_cast<uint32_t>(sum)));
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

// 16 bytes from global to shared memory, both aligned; the first `bytes` (0 to 16) are read, the
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

// Products of warpgroups, four warps that begin at a multiple of four (PTX ISA, "Asynchronous
// warpgroup level matrix instructions"): c += A B for 64 x 32 x kColumns, signed bytes. A comes
// from registers: warp w holds rows 16 w ... as the A of mma; c likewise, element e of columns 8 t
// ... at 4 t + e. B is `kColumns` rows of 128 bytes in shared memory, columns of the product, of
// which 32 bytes count; the 16-byte chunks of row r lie permuted, chunk i at i ^ (r % 8).
//   warpgroup_begin()         registers hold what products will read
//   warpgroup_multiply(...)   begun; neither c nor a may be touched until
//   warpgroup_wait()          all are done
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
#define PYQRT_WARPGROUP 1
#endif
constexpr bool has_warpgroup() {
#if defined(PYQRT_WARPGROUP) || !defined(__CUDA_ARCH__)
  return true;
#else
  return false;
#endif
}

// `row`: the first of B's rows, at a multiple of 1024 bytes, plus the offset of the 32 bytes.
PYQRT_DEVICE uint64_t matrix_descriptor(const void* row) {
  constexpr uint64_t kEightRows = 1024 / 16;     // in units of 16 bytes
  constexpr uint64_t kPermuted128 = 1ull << 62;  // "128-byte swizzle"
  return kPermuted128 | kEightRows << 32 | 1ull << 16 | ((shared_address(row) & 0x3ffff) >> 4);
}

// This thread's writes to shared memory are seen by products begun after the next barrier.
PYQRT_DEVICE void show_to_tensor_cores() {
#ifdef PYQRT_WARPGROUP
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
#endif
}
PYQRT_DEVICE void warpgroup_begin() {
#ifdef PYQRT_WARPGROUP
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
#endif
}
PYQRT_DEVICE void warpgroup_wait() {
#ifdef PYQRT_WARPGROUP
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
  asm volatile("wgmma.wait_group.sync.aligned 0;" ::: "memory");
#endif
}

#define PYQRT_C4(i) "+r"(c[i]), "+r"(c[(i) + 1]), "+r"(c[(i) + 2]), "+r"(c[(i) + 3])
#define PYQRT_C16(i) PYQRT_C4(i), PYQRT_C4((i) + 4), PYQRT_C4((i) + 8), PYQRT_C4((i) + 12)
#define PYQRT_N16 "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15"
#define PYQRT_N32 \
  PYQRT_N16 ", %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define PYQRT_N48 \
  PYQRT_N32 ", %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47"
#define PYQRT_N64 \
  PYQRT_N48 ", %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
#define PYQRT_WGMMA(columns, registers, a0, a1, a2, a3, descriptor)                         \
  "{.reg .pred adds; setp.eq.b32 adds, 0, 0; "                                              \
  "wgmma.mma_async.sync.aligned.m64n" columns "k32.s32.s8.s8 {" registers "}, {" a0 ", " a1 \
  ", " a2 ", " a3 "}, " descriptor ", adds;}"
#define PYQRT_AB "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b)

template <int kColumns>
PYQRT_DEVICE void warpgroup_multiply(int32_t (&c)[kColumns / 2], const uint32_t (&a)[4],
                                     uint64_t b) {
  static_assert(kColumns == 32 || kColumns == 64 || kColumns == 96 || kColumns == 128);
#ifdef PYQRT_WARPGROUP
  if constexpr (kColumns == 32) {
    asm volatile(PYQRT_WGMMA("32", PYQRT_N16, "%16", "%17", "%18", "%19", "%20")
                 : PYQRT_C16(0)
                 : PYQRT_AB);
  } else if constexpr (kColumns == 64) {
    asm volatile(PYQRT_WGMMA("64", PYQRT_N32, "%32", "%33", "%34", "%35", "%36")
                 : PYQRT_C16(0), PYQRT_C16(16)
                 : PYQRT_AB);
  } else if constexpr (kColumns == 96) {
    asm volatile(PYQRT_WGMMA("96", PYQRT_N48, "%48", "%49", "%50", "%51", "%52")
                 : PYQRT_C16(0), PYQRT_C16(16), PYQRT_C16(32)
                 : PYQRT_AB);
  } else {
    asm volatile(PYQRT_WGMMA("128", PYQRT_N64, "%64", "%65", "%66", "%67", "%68")
                 : PYQRT_C16(0), PYQRT_C16(16), PYQRT_C16(32), PYQRT_C16(48)
                 : PYQRT_AB);
  }
#endif
}

#undef PYQRT_AB
#undef PYQRT_WGMMA
#undef PYQRT_N64
#undef PYQRT_N48
#undef PYQRT_N32
#undef PYQRT_N16
#undef PYQRT_C16
#undef PYQRT_C4

}  // namespace pyqrt::cuda
