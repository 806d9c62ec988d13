// linear, AVX-VNNI: the 256-bit product in VEX encoding, for CPUs without AVX-512.
#include "ops/linear/linear_vnni256.h"

namespace pyqrt {

void linear_avxvnni(const LinearArgs& args, Range rows, Range blocks, void* scratch) {
  run_tiles<DotProducts>(args, rows, blocks, scratch);
}

}  // namespace pyqrt
