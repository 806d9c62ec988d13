// A square of scores, as one head of one sequence has it.
#include "bench/ops/harness.h"
#include "ops/softmax/softmax.h"

namespace pyqrt::bench {
namespace {

void measure(benchmark::State& state, const Kernel<SoftmaxKernel>& kernel, int64_t rows) {
  const auto score = random_values<int32_t>(rows * rows, -1000000, 1000000);
  Array<uint8_t> high(score.size());
  Array<uint8_t> low(score.size());
  auto sum = filled<int32_t>(rows, 0);
  SoftmaxArgs args;
  args.n = args.score_stride = args.plane_stride = rows;
  args.score = score.data();
  args.multiplier = 40000;
  args.high = high.data();
  args.low = low.data();
  args.sum = sum.data();
  time_rows(state, rows, [&] { kernel.run(args, Range{0, rows}); });
}

// The same for every encoder: a head's scores do not depend on its width.
const bool registered = [] {
  for (const int64_t rows : kRows) {
    register_variants("softmax", "head", rows, kSoftmaxKernels,
                      [rows](benchmark::State& state, const Kernel<SoftmaxKernel>& kernel) {
                        measure(state, kernel, rows);
                      });
  }
  return true;
}();

}  // namespace
}  // namespace pyqrt::bench
