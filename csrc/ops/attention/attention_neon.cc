// attention, base NEON: SMULL, SMLAL and SADALP.
#include "ops/attention/attention_neon.h"

namespace pyqrt {

void attention_neon(const AttentionArgs& args, Range items, int64_t, void* scratch) {
  attend_items<DotLong>(args, items, scratch);
}

}  // namespace pyqrt
