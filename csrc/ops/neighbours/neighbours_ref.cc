#include <cstring>

#include "ops/neighbours/neighbours.h"

namespace pyqrt {

void neighbours_reference(const NeighboursArgs& args, Range sequences) {
  const std::size_t bytes = static_cast<std::size_t>(args.width) * sizeof(int16_t);
  for (int64_t s = sequences.begin; s < sequences.end; ++s) {
    const int64_t first = args.offsets[s];
    const int64_t end = args.offsets[s + 1];
    for (int64_t i = first; i < end; ++i) {
      int16_t* output = args.output + i * args.output_stride;
      for (int64_t from = i + args.reach; from >= i - args.reach; --from) {
        if (from >= first && from < end) {
          std::memcpy(output, args.input + from * args.input_stride, bytes);
        } else {
          std::memset(output, 0, bytes);
        }
        output += args.width;
      }
    }
  }
}

}  // namespace pyqrt
