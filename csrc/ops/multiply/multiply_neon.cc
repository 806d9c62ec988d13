// multiply, NEON: 16 columns at a time.
#include "fixed/fixed_neon.h"
#include "ops/multiply/multiply_rows.h"

namespace pyqrt {
namespace {

constexpr int64_t kLanes = 16;

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

}  // namespace

void multiply_neon(const MultiplyArgs& args, Range rows) {
  const int16x8_t zero_point = vdupq_n_s16(static_cast<int16_t>(args.zero_point));
  multiply_rows(args, rows, [&](const MultiplyArgs& all, Range few, auto* output) {
    multiply_columns<kLanes>(all, few, output, make_columns,
                             [&](const Columns& columns, const int16_t* a, const int16_t* b,
                                 auto* out) { step(columns, a, b, zero_point, out); });
  });
}

}  // namespace pyqrt
