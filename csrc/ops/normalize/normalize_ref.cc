#include "ops/normalize/normalize_row.h"

namespace pyqrt {

void normalize_reference(const NormalizeArgs& args, Range rows) {
  for (int64_t i = rows.begin; i < rows.end; ++i) {
    const int16_t* input = args.input + i * args.input_stride;
    int32_t* output = args.output + i * args.output_stride;
    int64_t squares = 0;
    for (int64_t j = 0; j < args.width; ++j) squares += int32_t{input[j]} * input[j];
    const NormalizeRow row = normalize_row(static_cast<uint64_t>(squares));
    for (int64_t j = 0; j < args.width; ++j) output[j] = normalize_value(input[j], row);
  }
}

}  // namespace pyqrt
