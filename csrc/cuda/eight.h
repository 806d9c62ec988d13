// What a lane holds of a row after products by operand_b.h: eight neighbouring elements.
#pragma once

#include "cuda/machine.h"

namespace pyqrt::cuda {

// Of the eight, `count` exist; the others are read as 0 and not written.
template <class Element>
PYQRT_DEVICE void load_eight(int32_t (&to)[8], const Element* from, int count) {
  struct alignas(8 * sizeof(Element)) Eight {
    Element value[8];
  };
  if (count == 8 && reinterpret_cast<uintptr_t>(from) % sizeof(Eight) == 0) {
    const auto eight = load_vector<Eight>(from);
    PYQRT_UNROLL
    for (int i = 0; i < 8; ++i) to[i] = eight.value[i];
  } else {
    PYQRT_UNROLL
    for (int i = 0; i < 8; ++i) to[i] = i < count ? from[i] : 0;
  }
}
template <class Element>
PYQRT_DEVICE void store_eight(Element* to, const int32_t (&from)[8], int count) {
  struct alignas(8 * sizeof(Element) > 16 ? 16 : 8 * sizeof(Element)) Part {
    Element value[sizeof(Element) == 4 ? 4 : 8];
  };
  constexpr int kPart = sizeof(Part) / sizeof(Element);
  if (count == 8 && reinterpret_cast<uintptr_t>(to) % sizeof(Part) == 0) {
    PYQRT_UNROLL
    for (int p = 0; p < 8; p += kPart) {
      Part part;
      PYQRT_UNROLL
      for (int i = 0; i < kPart; ++i) part.value[i] = static_cast<Element>(from[p + i]);
      store_vector(to + p, part);
    }
  } else {
    PYQRT_UNROLL
    for (int i = 0; i < 8; ++i) {
      if (i < count) to[i] = static_cast<Element>(from[i]);
    }
  }
}

}  // namespace pyqrt::cuda
