// What a lane holds of a row after products by operand_b.h: a few neighbouring elements.
#pragma once

#include "cuda/machine.h"

namespace pyqrt::cuda {

// kCount elements as vectors of at most 16 bytes.
template <int kCount, class Element>
struct Neighbours {
  static constexpr int kBytes = kCount * static_cast<int>(sizeof(Element));
  struct alignas(kBytes > 16 ? 16 : kBytes) Part {
    Element value[kBytes > 16 ? 16 / sizeof(Element) : kCount];
  };
  static constexpr int kPart = static_cast<int>(sizeof(Part) / sizeof(Element));

  PYQRT_STATIC_MEMBER bool aligned(const Element* at) {
    return reinterpret_cast<uintptr_t>(at) % sizeof(Part) == 0;
  }
};

// All exist, aligned to their size or 16 bytes.
template <int kCount, class Element>
PYQRT_DEVICE void load_aligned(int32_t (&to)[kCount], const Element* from) {
  using Vectors = Neighbours<kCount, Element>;
  PYQRT_UNROLL
  for (int p = 0; p < kCount; p += Vectors::kPart) {
    const auto part = load_vector<typename Vectors::Part>(from + p);
    PYQRT_UNROLL
    for (int i = 0; i < Vectors::kPart; ++i) to[p + i] = part.value[i];
  }
}
template <int kCount, class Element>
PYQRT_DEVICE void store_aligned(Element* to, const int32_t (&from)[kCount]) {
  using Vectors = Neighbours<kCount, Element>;
  PYQRT_UNROLL
  for (int p = 0; p < kCount; p += Vectors::kPart) {
    typename Vectors::Part part;
    PYQRT_UNROLL
    for (int i = 0; i < Vectors::kPart; ++i) part.value[i] = static_cast<Element>(from[p + i]);
    store_vector(to + p, part);
  }
}

// Of kCount elements `count` exist; the others are read as 0 and not written.
template <int kCount, class Element>
PYQRT_DEVICE void load_neighbours(int32_t (&to)[kCount], const Element* from, int count) {
  if (count == kCount && Neighbours<kCount, Element>::aligned(from)) {
    load_aligned(to, from);
  } else {
    PYQRT_UNROLL
    for (int i = 0; i < kCount; ++i) to[i] = i < count ? from[i] : 0;
  }
}

template <int kCount, class Element>
PYQRT_DEVICE void store_neighbours(Element* to, const int32_t (&from)[kCount], int count) {
  if (count == kCount && Neighbours<kCount, Element>::aligned(to)) {
    store_aligned(to, from);
  } else {
    PYQRT_UNROLL
    for (int i = 0; i < kCount; ++i) {
      if (i < count) to[i] = static_cast<Element>(from[i]);
    }
  }
}

}  // namespace pyqrt::cuda
