// linear, base NEON: SMULL, SMLAL and SADALP.
#include "ops/linear/linear_tiles_neon.h"

namespace pyqrt {

void linear_neon(const LinearArgs& args, Range rows, Range blocks, void* scratch) {
  run_tiles<DotLong>(args, rows, blocks, scratch);
}

}  // namespace pyqrt
