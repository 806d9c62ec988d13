#include "fixed/fixed.h"
#include "ops/normalize/normalize.h"

namespace pyqrt {
namespace {

void row(const int16_t* input, int64_t width, int32_t* output) {
  int64_t squares = 0;
  for (int64_t j = 0; j < width; ++j) squares += int32_t{input[j]} * input[j];
  if (squares == 0) {
    for (int64_t j = 0; j < width; ++j) output[j] = 0;
    return;
  }
  const uint64_t n = static_cast<uint64_t>(squares);
  const int e = (fixed::bit_length(n) + 1) / 2;
  const uint64_t root = fixed::isqrt(n << (2 * (31 - e)));
  const int64_t inverse = static_cast<int64_t>((uint64_t{1} << 61) / root);
  constexpr int64_t kOne = int64_t{1} << 30;
  for (int64_t j = 0; j < width; ++j) {
    const int64_t value = fixed::rshr64(input[j] * inverse, e);
    output[j] = static_cast<int32_t>(value < -kOne ? -kOne : value > kOne ? kOne : value);
  }
}

}  // namespace

void normalize_reference(const NormalizeArgs& args, Range rows) {
  for (int64_t i = rows.begin; i < rows.end; ++i) {
    row(args.input + i * args.input_stride, args.width, args.output + i * args.output_stride);
  }
}

}  // namespace pyqrt
