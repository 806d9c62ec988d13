#include "ops/lookup/lookup.h"

namespace pyqrt {

void lookup_reference(const LookupArgs& args, Range rows) {
  for (int64_t i = rows.begin; i < rows.end; ++i) {
    const int16_t* input = args.input + i * args.input_stride;
    int16_t* output = args.output + i * args.output_stride;
    for (int64_t j = 0; j < args.width; ++j) {
      output[j] = static_cast<int16_t>(lookup_value(args.table, input[j]));
    }
  }
}

}  // namespace pyqrt
