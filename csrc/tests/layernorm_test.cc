#include "ops/layernorm/layernorm.h"
#include "tests/harness.h"

namespace pyqrt::test {
namespace {

// Constants that keep 32767 * |gain| + |bias| + 2^(shift - 1) below 2^31.
template <class Element>
struct Output {
  Output(Random& random, int64_t n)
      : gain(vector_of<int16_t>(random, n, -30000, 30000, any_draw(random))),
        bias(vector_of<int32_t>(random, n, -(1 << 29), 1 << 29, any_draw(random))),
        shift(static_cast<int>(random.integer(1, 29))) {}

  LayerNormOutput<Element> to(Matrix<Element>& target) const {
    return {target.data(), target.stride(), gain.data(), bias.data(), shift};
  }

  std::vector<int16_t> gain;
  std::vector<int32_t> bias;
  int shift;
};

}  // namespace

void test_layernorm(int cases) {
  Random random(4);
  for (int number = 0; number < cases; ++number) {
    const int64_t rows = random.integer(0, 9);
    LayerNormArgs args;
    args.n = number % 20 == 0 ? random.one_of<int64_t>({1024, 1025, 3000}) : random.width();
    const int64_t limit = random.one_of<int64_t>({32767, 32767, 300, 3, 0});
    const auto input =
        Matrix<int16_t>::random(random, rows, args.n, -limit, limit, any_draw(random));
    args.input = input.data();
    args.input_stride = input.stride();
    args.normalize = random.integer(0, 3) > 0;
    args.exact_mean = random.integer(0, 1) > 0;
    args.epsilon = random.integer(0, int64_t{1} << random.integer(0, 56));
    const Output<int8_t> output8(random, args.n);
    const Output<int16_t> output16(random, args.n);
    const int64_t wanted = random.integer(1, 3);
    check_variants("layernorm", kLayerNormKernels,
                   describe({{"rows", rows}, {"n", args.n}, {"limit", limit}, {"outputs", wanted}}),
                   [&](LayerNormKernel& kernel) {
                     Matrix<int8_t> target8(rows, args.n, 5);
                     Matrix<int16_t> target16(rows, args.n, 3);
                     args.output8 = wanted & 1 ? output8.to(target8) : LayerNormOutput<int8_t>();
                     args.output16 =
                         wanted & 2 ? output16.to(target16) : LayerNormOutput<int16_t>();
                     kernel(args, Range{0, rows / 2});
                     kernel(args, Range{rows / 2, rows});
                     std::vector<uint8_t> bytes;
                     append_bytes(bytes, target8.memory());
                     append_bytes(bytes, target16.memory());
                     return bytes;
                   });
  }
}

}  // namespace pyqrt::test
