// attention, Armv8.6 int8 matrix products: SMMLA.
#include "ops/attention/attention_neon.h"

namespace pyqrt {

void attention_neoni8mm(const AttentionArgs& args, Range items, int64_t, void* scratch) {
  attend_items<DotMatrix>(args, items, scratch);
}

}  // namespace pyqrt
