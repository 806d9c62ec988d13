// attention, Armv8.2 dot product: SDOT by lane.
#include "ops/attention/attention_neon.h"

namespace pyqrt {

void attention_neondot(const AttentionArgs& args, Range items, int64_t, void* scratch) {
  attend_items<DotLane>(args, items, scratch);
}

}  // namespace pyqrt
