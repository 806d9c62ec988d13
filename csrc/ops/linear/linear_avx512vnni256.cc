// linear, AVX-512 VL VNNI: the 256-bit product in EVEX encoding.
#include "ops/linear/linear_vnni256.h"

namespace pyqrt {

void linear_avx512vnni256(const LinearArgs& args, Range rows, Range blocks, void* scratch) {
  run_tiles<DotProducts>(args, rows, blocks, scratch);
}

}  // namespace pyqrt
