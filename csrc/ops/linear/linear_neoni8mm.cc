// linear, Armv8.6 int8 matrix products: SMMLA.
#include "ops/linear/linear_tiles_neon.h"

namespace pyqrt {

void linear_neoni8mm(const LinearArgs& args, Range rows, Range blocks, void* scratch) {
  run_tiles<DotMatrix>(args, rows, blocks, scratch);
}

}  // namespace pyqrt
