#include "ops/multiply/multiply.h"

namespace pyqrt {

void multiply_reference(const MultiplyArgs& args, Range rows) {
  for (int64_t i = rows.begin; i < rows.end; ++i) {
    for (int64_t c = 0; c < args.width; ++c) multiply_element(args, i, c);
  }
}

}  // namespace pyqrt
