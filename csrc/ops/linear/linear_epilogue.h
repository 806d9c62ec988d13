// linear, after the accumulator: the formulas of the contract, one output at a time.
#pragma once

#include <type_traits>

#include "fixed/fixed.h"
#include "ops/linear/linear.h"

namespace pyqrt {

// What follows the requantized accumulator r. `gelu` is args.gelu, `gelu_multiplier` the channel's,
// `residual` the element of it that belongs to this output; of no matter to other epilogues.
template <LinearEpilogue kEpilogue>
constexpr int32_t linear_epilogue(const LinearArgs& args, const fixed::GeluPolynomial& gelu,
                                  int32_t gelu_multiplier, int32_t r, int32_t residual) {
  if constexpr (kEpilogue == LinearEpilogue::kRequantizeS8) {
    return fixed::sat8(r + args.zero_point);
  } else if constexpr (kEpilogue == LinearEpilogue::kRequantizeS16) {
    return fixed::sat16(r);
  } else if constexpr (kEpilogue == LinearEpilogue::kRequantizeS32) {
    return r;
  } else if constexpr (kEpilogue == LinearEpilogue::kGeluS8) {
    const int32_t g = fixed::gelu(fixed::sat16(r), gelu);
    const int32_t scaled = fixed::rshr(g * gelu_multiplier, args.gelu_shift);
    return fixed::sat8(scaled + args.zero_point);
  } else if constexpr (kEpilogue == LinearEpilogue::kGeluS16) {
    return fixed::gelu(fixed::sat16(r), gelu);
  } else {
    static_assert(kEpilogue == LinearEpilogue::kResidualS16);
    return fixed::sat16(r + fixed::rshr(residual * args.residual_multiplier, args.residual_shift));
  }
}

template <DataType kType>
struct ElementOf;
template <>
struct ElementOf<DataType::kS8> {
  using type = int8_t;
};
template <>
struct ElementOf<DataType::kS16> {
  using type = int16_t;
};
template <>
struct ElementOf<DataType::kS32> {
  using type = int32_t;
};

template <LinearEpilogue kEpilogue>
using LinearOutput = typename ElementOf<linear_output_type(kEpilogue)>::type;

// Calls body with the epilogue as a type: body(std::integral_constant<LinearEpilogue, ...>{}).
template <class Body>
constexpr void with_epilogue(LinearEpilogue epilogue, const Body& body) {
  using E = LinearEpilogue;
  switch (epilogue) {
    case E::kRequantizeS8:
      return body(std::integral_constant<E, E::kRequantizeS8>{});
    case E::kRequantizeS16:
      return body(std::integral_constant<E, E::kRequantizeS16>{});
    case E::kRequantizeS32:
      return body(std::integral_constant<E, E::kRequantizeS32>{});
    case E::kGeluS8:
      return body(std::integral_constant<E, E::kGeluS8>{});
    case E::kGeluS16:
      return body(std::integral_constant<E, E::kGeluS16>{});
    case E::kResidualS16:
      return body(std::integral_constant<E, E::kResidualS16>{});
  }
}

}  // namespace pyqrt
