// From a list of variants (kernels.inc, best first) to the one that runs.
#pragma once

#include <array>

#include "base/cpu_features.h"

namespace pyqrt {

template <class Function>
struct Kernel {
  Isa isa;
  Function* run;
};

// The best kernel of `list` at or below `limit` that this CPU supports. The reference is last in
// every list and always runs, so there is always an answer.
template <class Function, std::size_t kCount>
const Kernel<Function>& select_kernel(const std::array<Kernel<Function>, kCount>& list, Isa limit) {
  for (const auto& kernel : list) {
    if (kernel.isa <= limit && isa_supported(kernel.isa)) return kernel;
  }
  return list.back();
}

}  // namespace pyqrt
