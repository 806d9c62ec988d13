// multiply, NEON: 16 columns at a time; a few rows share what requantization derives from the
// multipliers and shifts of a column. Columns that are left over go through a buffer.
#include <cstring>

#include "fixed/fixed_neon.h"
#include "ops/multiply/multiply.h"

namespace pyqrt {
namespace {

constexpr int64_t kLanes = 16;
constexpr int64_t kRows = 4;

// Of 16 columns, four by four.
struct Columns {
  neon::Scale scale[4];
};
Columns make_columns(const int32_t* multiplier, const int32_t* shift) {
  Columns columns;
  for (int v = 0; v < 4; ++v) {
    columns.scale[v] = neon::make_scale(vld1q_s32(multiplier + 4 * v), vld1q_s32(shift + 4 * v));
  }
  return columns;
}

// a, b, output: 16 elements.
template <class Output>
void step(const Columns& columns, const int16_t* a, const int16_t* b, int16x8_t zero_point,
          Output* output) {
  const auto eight = [&](int v) {
    const int16x8_t x = vld1q_s16(a + 4 * v);
    const int16x8_t y = vld1q_s16(b + 4 * v);
    const int32x4_t low = vmull_s16(vget_low_s16(x), vget_low_s16(y));
    return neon::pack_sat16(neon::requantize(low, columns.scale[v]),
                            neon::requantize(vmull_high_s16(x, y), columns.scale[v + 1]));
  };
  const int16x8_t left = eight(0);
  const int16x8_t right = eight(2);
  if constexpr (sizeof(Output) == 1) {
    vst1q_s8(output, neon::pack_sat8(vqaddq_s16(left, zero_point), vqaddq_s16(right, zero_point)));
  } else {
    vst1q_s16(output, left);
    vst1q_s16(output + 8, right);
  }
}

// The arguments are a copy, which no store of an int8 could alter.
template <class Output>
void multiply(MultiplyArgs args, Range rows, Output* output) {
  const int16x8_t zero_point = vdupq_n_s16(static_cast<int16_t>(args.zero_point));
  const int64_t whole = args.width / kLanes * kLanes;
  for (int64_t c = 0; c < whole; c += kLanes) {
    const Columns columns = make_columns(args.multiplier + c, args.shift + c);
    for (int64_t i = rows.begin; i < rows.end; ++i) {
      step(columns, args.a + i * args.a_stride + c, args.b + i * args.b_stride + c, zero_point,
           output + i * args.output_stride + c);
    }
  }
  if (whole == args.width) return;
  const auto rest = static_cast<std::size_t>(args.width - whole);
  int32_t multiplier[kLanes] = {};
  int32_t shift[kLanes] = {};
  std::memcpy(multiplier, args.multiplier + whole, rest * sizeof(int32_t));
  std::memcpy(shift, args.shift + whole, rest * sizeof(int32_t));
  const Columns columns = make_columns(multiplier, shift);
  int16_t a[kLanes] = {};
  int16_t b[kLanes] = {};
  Output last[kLanes];
  for (int64_t i = rows.begin; i < rows.end; ++i) {
    std::memcpy(a, args.a + i * args.a_stride + whole, rest * sizeof(int16_t));
    std::memcpy(b, args.b + i * args.b_stride + whole, rest * sizeof(int16_t));
    step(columns, a, b, zero_point, last);
    std::memcpy(output + i * args.output_stride + whole, last, rest * sizeof(Output));
  }
}

}  // namespace

void multiply_neon(const MultiplyArgs& args, Range rows) {
  for (int64_t i = rows.begin; i < rows.end; i += kRows) {
    const Range few{i, rows.end - i < kRows ? rows.end : i + kRows};
    if (args.output8 != nullptr) {
      multiply(args, few, args.output8);
    } else {
      multiply(args, few, args.output16);
    }
  }
}

}  // namespace pyqrt
