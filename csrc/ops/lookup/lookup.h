// lookup: any element-wise function of one int16, by a table with linear interpolation (tanh of
// the pooler, activations other than GELU).
//
// Integers:  u = x + 32768;  i = u >> 7;  f = u & 127
//            out = (table[i] * (128 - f) + table[i + 1] * f + 64) >> 7
// table: 513 entries in [-32767, 32767], the function at x = -32768, -32640, ... , 32768, at the
// output's scale. x in [-32767, 32767]. Interpolation error h^2/8 |f''| with h = 128 units of x.
// Nothing beyond the width is read or written. output may alias input exactly.
#pragma once

#include <array>

#include "base/dispatch.h"
#include "base/types.h"

namespace pyqrt {

inline constexpr int kLookupEntries = 513;

constexpr int32_t lookup_value(const int16_t* table, int32_t x) {
  const int32_t u = x + 32768;
  const int16_t* knot = table + (u >> 7);
  const int32_t f = u & 127;
  return (knot[0] * (128 - f) + knot[1] * f + 64) >> 7;
}

struct LookupArgs {
  int64_t width = 0;
  const int16_t* input = nullptr;  // [rows, width]
  int64_t input_stride = 0;
  const int16_t* table = nullptr;  // [513]
  int16_t* output = nullptr;       // [rows, width]
  int64_t output_stride = 0;
};

using LookupKernel = void(const LookupArgs& args, Range rows);

#define PYQRT_KERNEL(name, isa) LookupKernel lookup_##name;
#include "ops/lookup/kernels.inc"
#undef PYQRT_KERNEL

inline constexpr std::array kLookupKernels{
#define PYQRT_KERNEL(name, isa) Kernel<LookupKernel>{Isa::isa, lookup_##name},
#include "ops/lookup/kernels.inc"
#undef PYQRT_KERNEL
};

}  // namespace pyqrt
