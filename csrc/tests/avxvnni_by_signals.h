// AVX-VNNI on a CPU with AVX2 that lacks it. All it adds is vpdpbusd in VEX encoding, an illegal
// instruction there; the signal's handler does to the saved registers what it would have done.
#pragma once

#include <cstdint>

namespace pyqrt::test {

// From now on kernels for AVX-VNNI run, some microseconds an instruction. False where that cannot
// be or need not be: no AVX2, AVX-VNNI itself, not Linux on x86-64.
bool emulate_avxvnni();

// How many instructions the handler has done.
int64_t emulated_instructions();

}  // namespace pyqrt::test
