// Which instruction-set variants exist, which this build contains, which this CPU runs.
//
// Variants are ordered from the reference upwards within an architecture. An op is free to lack
// a variant; selection then takes the best one it has at or below the limit.
#pragma once

#include <string>
#include <vector>

#include "base/types.h"

namespace pyqrt {

enum class Isa : uint8_t {
  kReference,
  // x86-64
  kAvx2,
  kAvxVnni,
  kAvx512Vnni256,
  kAvx512Vnni,
  // AArch64
  kNeon,
  kNeonDot,
  kNeonI8mm,
};

const char* isa_name(Isa isa);  // "reference", "avx2" and so on: what PYQRT_FORCE_ISA takes
bool isa_compiled(Isa isa);     // is it in this build?
bool isa_supported(Isa isa);    // compiled, and the CPU and the operating system support it
std::vector<Isa> all_isas();    // best first

// The best supported variant, or the one that `name` asks for.
// Throws Error when `name` is unknown, not compiled or not supported here. Empty: no wish.
Isa resolve_isa(const std::string& name);

// The same, the wish being the environment variable PYQRT_FORCE_ISA.
Isa default_isa();

}  // namespace pyqrt
