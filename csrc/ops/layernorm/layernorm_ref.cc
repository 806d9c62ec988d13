#include "ops/layernorm/layernorm_row.h"

namespace pyqrt {

void layernorm_reference(const LayerNormArgs& args, Range rows) {
  for (int64_t index = rows.begin; index < rows.end; ++index) {
    const int16_t* input = args.input + index * args.input_stride;
    int64_t sum = 0;
    int64_t sum_of_squares = 0;
    for (int64_t j = 0; j < args.n; ++j) {
      sum += input[j];
      sum_of_squares += int32_t{input[j]} * input[j];
    }
    const LayerNormRow row =
        args.normalize ? layernorm_row(args, sum, sum_of_squares) : kLayerNormIdentity;
    layernorm_columns(args, index, row, 0, args.n);
  }
}

}  // namespace pyqrt
