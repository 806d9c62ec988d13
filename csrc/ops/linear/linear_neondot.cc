// linear, Armv8.2 dot product: SDOT by lane.
#include "ops/linear/linear_tiles_neon.h"

namespace pyqrt {

void linear_neondot(const LinearArgs& args, Range rows, Range blocks, void* scratch) {
  run_tiles<DotLane>(args, rows, blocks, scratch);
}

}  // namespace pyqrt
