// peak: what the machine can do at most, the yardstick of every benchmark. Integers only.
//
// multiply_accumulate: products of bytes added to 32-bit sums that stay in registers, with the
//   instruction that the variant's matrix product is built on: vpdpbusd (avx512vnni,
//   avx512vnni256, avxvnni), two vpmaddubsw, whose sum vpmaddwd widens (avx2), SMMLA (neoni8mm),
//   SDOT (neondot), SMULL, SMLAL and SADALP (neon), one scalar multiplication and addition
//   (reference). No memory traffic; enough independent sums to hide the latency.
// read: every byte of a buffer loaded once, in order, with the variant's widest load.
//
// Neither reads a clock: the caller times them, over calls of milliseconds. The reference is held
// to one product an instruction; a compiler may do better with a reference kernel.
#pragma once

#include <array>

#include "base/dispatch.h"
#include "base/types.h"

namespace pyqrt {

// Multiply-accumulates of one step, whatever the variant.
inline constexpr int64_t kPeakStepMacs = 3 << 16;

// Does steps * kPeakStepMacs multiply-accumulates. Returns a checksum, so that none can be left
// out.
using MultiplyAccumulateKernel = uint32_t(int64_t steps);

// Returns a checksum. bytes is a multiple of 256; any alignment, full speed at 64.
using ReadKernel = uint32_t(const uint8_t* data, int64_t bytes);

#define PYQRT_KERNEL(name, isa)                        \
  MultiplyAccumulateKernel multiply_accumulate_##name; \
  ReadKernel read_##name;
#include "bench/kernels.inc"
#undef PYQRT_KERNEL

inline constexpr std::array kMultiplyAccumulateKernels{
#define PYQRT_KERNEL(name, isa) \
  Kernel<MultiplyAccumulateKernel>{Isa::isa, multiply_accumulate_##name},
#include "bench/kernels.inc"
#undef PYQRT_KERNEL
};

inline constexpr std::array kReadKernels{
#define PYQRT_KERNEL(name, isa) Kernel<ReadKernel>{Isa::isa, read_##name},
#include "bench/kernels.inc"
#undef PYQRT_KERNEL
};

inline constexpr int64_t kReadStep = 256;  // bytes

}  // namespace pyqrt
