#include "ops/softmax/softmax.h"
#include "tests/harness.h"

namespace pyqrt::test {

void test_softmax(int cases) {
  Random random(3);
  for (int number = 0; number < cases; ++number) {
    const int64_t rows = random.integer(0, 6);
    SoftmaxArgs args;
    args.n = number % 10 == 0 ? 0 : random.width();
    const int64_t limit = (int64_t{1} << random.integer(1, 30)) - 1;
    const auto score =
        Matrix<int32_t>::random(random, rows, args.n, -limit, limit, any_draw(random));
    args.score = score.data();
    args.score_stride = score.stride();
    args.multiplier = static_cast<uint32_t>(
        draw(random, any_draw(random), 1, (int64_t{1} << random.integer(1, 32)) - 1));
    if (args.multiplier == 0) args.multiplier = 1;
    args.exponential = random.one_of({fixed::kExpMinimax, fixed::kExpIbert});
    check_variants("softmax", kSoftmaxKernels,
                   describe({{"rows", rows}, {"n", args.n}, {"multiplier", args.multiplier}}),
                   [&](SoftmaxKernel& kernel) {
                     Matrix<uint8_t> high(rows, args.n, 3), low(rows, args.n, 3);
                     Matrix<int32_t> sum(1, rows, 1);
                     args.high = high.data();
                     args.low = low.data();
                     args.plane_stride = high.stride();
                     args.sum = sum.data();
                     kernel(args, Range{0, rows});
                     std::vector<uint8_t> bytes;
                     append_bytes(bytes, high.memory());
                     append_bytes(bytes, low.memory());
                     append_bytes(bytes, sum.memory());
                     return bytes;
                   });
  }
}

}  // namespace pyqrt::test
