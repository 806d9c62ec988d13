// linear on a GPU, after the accumulator: a few neighbouring channels of any number of rows.
#pragma once

#include "cuda/neighbours.h"
#include "ops/linear/linear_epilogue.h"

namespace pyqrt::cuda {

// An epilogue, and the polynomial of GELU: constants of the code that is compiled for it.
template <LinearEpilogue kEpilogue_, bool kIbert = false>
struct EpilogueKind {
  static constexpr LinearEpilogue kEpilogue = kEpilogue_;
  PYQRT_STATIC_MEMBER fixed::GeluPolynomial gelu() {
    constexpr fixed::GeluPolynomial polynomial = kIbert ? fixed::kGeluIbert : fixed::kGeluMinimax;
    return polynomial;
  }
};

// Calls body with the kind as a type: body(EpilogueKind<...>{}).
template <class Body>
PYQRT_DEVICE void with_epilogue_kind(const LinearArgs& args, const Body& body) {
  with_epilogue(args.epilogue, [&](auto epilogue) {
    constexpr LinearEpilogue kEpilogue = decltype(epilogue)::value;
    constexpr bool kIsGelu =
        kEpilogue == LinearEpilogue::kGeluS8 || kEpilogue == LinearEpilogue::kGeluS16;
    if constexpr (kIsGelu) {
      constexpr fixed::GeluPolynomial ibert = fixed::kGeluIbert;
      if (args.gelu == ibert) return body(EpilogueKind<kEpilogue, true>{});
    }
    body(EpilogueKind<kEpilogue>{});
  });
}

// What the epilogue needs of kCount neighbouring channels, read once for all rows.
//   requantize(sum + bias) = (sum * multiplier + offset) >> shift: one multiplication, one shift.
template <class Kind, int kCount>
class ChannelEpilogue {
 public:
  static constexpr LinearEpilogue kEpilogue = Kind::kEpilogue;
  using Output = LinearOutput<kEpilogue>;
  static constexpr bool kAdds = kEpilogue == LinearEpilogue::kResidualS16;
  static constexpr bool kScales = kEpilogue == LinearEpilogue::kGeluS8;

  // `count` of them exist, from `channel` on, a multiple of kCount. Per-channel arrays hold whole
  // blocks of 16 channels, aligned to 16 bytes.
  PYQRT_MEMBER ChannelEpilogue(const LinearArgs& args, int64_t channel, int count)
      : args_(args), channel_(channel), count_(count) {
    int32_t bias[kCount];
    load_aligned(bias, args.bias + channel);
    load_aligned(multiplier_, args.multiplier + channel);
    load_aligned(shift_, args.shift + channel);
    PYQRT_UNROLL
    for (int i = 0; i < kCount; ++i) {
      offset_[i] = int64_t{bias[i]} * multiplier_[i] + (int64_t{1} << (shift_[i] - 1));
    }
    if constexpr (kScales) load_neighbours(gelu_, args.gelu_multiplier + channel, count);
  }

  // What is added to `row`, which exists.
  PYQRT_MEMBER void load_residual(int32_t (&to)[kCount], int64_t row) const {
    if constexpr (kAdds) {
      load_neighbours(to, args_.residual + row * args_.residual_stride + channel_, count_);
    }
  }

  // sum(i) is channel i's; of int16 input, it has been shifted already.
  template <class Sum>
  PYQRT_MEMBER void store(int64_t row, const Sum& sum, const int32_t (&residual)[kCount]) const {
    int32_t out[kCount];
    PYQRT_UNROLL
    for (int i = 0; i < kCount; ++i) {
      const auto requantized =
          static_cast<int32_t>(multiply_add_wide(sum(i), multiplier_[i], offset_[i]) >> shift_[i]);
      out[i] = linear_epilogue<kEpilogue>(args_, Kind::gelu(), kScales ? gelu_[i] : 0, requantized,
                                          kAdds ? residual[i] : 0);
    }
    store_neighbours(static_cast<Output*>(args_.output) + row * args_.output_stride + channel_, out,
                     count_);
  }

 private:
  const LinearArgs& args_;
  int64_t channel_;
  int count_;
  int64_t offset_[kCount];
  int32_t multiplier_[kCount];
  int32_t shift_[kCount];
  int32_t gelu_[kCount];
};

}  // namespace pyqrt::cuda
