// linear on a GPU, after the accumulator: a few neighbouring channels of any number of rows.
#pragma once

#include "cuda/neighbours.h"
#include "ops/linear/linear_epilogue.h"

namespace pyqrt::cuda {

// What the epilogue needs of kCount neighbouring channels, read once for all rows.
//   requantize(sum + bias) = (sum * multiplier + offset) >> shift: one multiplication, one shift.
template <LinearEpilogue kEpilogue, int kCount>
class ChannelEpilogue {
 public:
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

  // Whether all channels exist, and vectors of them are aligned in every row.
  PYQRT_MEMBER bool vectors() const {
    return count_ == kCount &&
           Neighbours<kCount, Output>::rows_aligned(output(0), args_.output_stride) &&
           (!kAdds ||
            Neighbours<kCount, int16_t>::rows_aligned(residual(0), args_.residual_stride));
  }

  // What is added to `row`, which exists. kVectors: vectors().
  template <bool kVectors = false>
  PYQRT_MEMBER void load_residual(int32_t (&to)[kCount], int64_t row) const {
    if constexpr (kAdds) {
      kVectors ? load_aligned(to, residual(row)) : load_neighbours(to, residual(row), count_);
    }
  }

  // sum(i) is channel i's; of int16 input, it has been shifted already.
  template <bool kVectors = false, class Sum>
  PYQRT_MEMBER void store(int64_t row, const Sum& sum, const int32_t (&residual)[kCount]) const {
    int32_t out[kCount];
    PYQRT_UNROLL
    for (int i = 0; i < kCount; ++i) {
      const auto requantized =
          static_cast<int32_t>((int64_t{sum(i)} * multiplier_[i] + offset_[i]) >> shift_[i]);
      out[i] = linear_epilogue<kEpilogue>(args_, kScales ? gelu_[i] : 0, requantized,
                                          kAdds ? residual[i] : 0);
    }
    kVectors ? store_aligned(output(row), out) : store_neighbours(output(row), out, count_);
  }

 private:
  PYQRT_MEMBER Output* output(int64_t row) const {
    return static_cast<Output*>(args_.output) + row * args_.output_stride + channel_;
  }
  PYQRT_MEMBER const int16_t* residual(int64_t row) const {
    return args_.residual + row * args_.residual_stride + channel_;
  }

  const LinearArgs& args_;
  int64_t channel_;
  int count_;
  int64_t offset_[kCount];
  int32_t multiplier_[kCount];
  int32_t shift_[kCount];
  int32_t gelu_[kCount];
};

}  // namespace pyqrt::cuda
