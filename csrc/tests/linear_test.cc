#include <algorithm>
#include <cstdlib>

#include "fixed/fixed.h"
#include "ops/linear/linear.h"
#include "ops/linear/linear_paired.h"
#include "tests/harness.h"

namespace pyqrt::test {
namespace {

constexpr int64_t kGroupBytes = kLinearBlock * kLinearGroup;

// Most of them small, as those of a trained channel are.
int64_t bell_shaped(Random& random) {
  int64_t sum = 0;
  for (int i = 0; i < 4; ++i) sum += random.integer(-127, 127);
  return sum / 4;
}

// Weights as the contract lays them out, zero where n or k is padded.
std::vector<int8_t> weights(Random& random, int64_t n, int64_t k, std::vector<int32_t>& sums) {
  const int64_t groups = ceil_div(k, kLinearGroup);
  const Draw how = any_draw(random);
  const bool is_bell_shaped = random.integer(0, 1) != 0;
  std::vector<int8_t> packed(
      static_cast<std::size_t>(ceil_div(n, kLinearBlock) * groups * kGroupBytes));
  sums.assign(static_cast<std::size_t>(round_up(n, kLinearBlock)), 0);
  for (int64_t j = 0; j < n; ++j) {
    for (int64_t i = 0; i < k; ++i) {
      const int64_t at = (j / kLinearBlock * groups + i / kLinearGroup) * kGroupBytes +
                         j % kLinearBlock * kLinearGroup + i % kLinearGroup;
      const int64_t w = is_bell_shaped ? bell_shaped(random) : draw(random, how, -127, 127);
      packed[static_cast<std::size_t>(at)] = static_cast<int8_t>(w);
      sums[static_cast<std::size_t>(j)] += static_cast<int32_t>(w);
    }
  }
  return packed;
}

// The least shift for which the contract's bound on the accumulator holds.
int least_shift(int64_t worst) {
  int shift = fixed::kMinShift;
  while (worst << std::max(0, 33 - shift) >= int64_t{1} << 31) ++shift;
  return shift;
}

template <class Output>
void check(Random& random, LinearArgs args, const std::string& the_case) {
  const int64_t blocks = ceil_div(args.n, kLinearBlock);
  const int64_t row_cut = random.integer(0, args.m);
  const int64_t block_cut = random.integer(0, blocks);
  const int64_t margin = random.integer(0, 9);
  const auto run = [&](LinearKernel& kernel) {
    Matrix<Output> output(args.m, args.n, margin);
    const Scratch scratch(linear_scratch_bytes(args.k));
    args.output = output.data();
    args.output_stride = output.stride();
    for (const Range rows : {Range{0, row_cut}, Range{row_cut, args.m}}) {
      for (const Range part : {Range{0, block_cut}, Range{block_cut, blocks}}) {
        kernel(args, rows, part, scratch.get());
      }
    }
    std::vector<uint8_t> bytes(1, scratch.overrun());
    append_bytes(bytes, output.memory());
    return bytes;
  };
  check_variants("linear", kLinearKernels, the_case, run);
  if (!isa_supported(Isa::kAvx2)) return;
  constexpr int64_t kAny = 1000000;  // however many pairs
  const auto paired = pair_weight(Isa::kAvx2, args, kAny);
  if (paired == nullptr) return;
  args.paired = paired.get();
  check_variants("linear", kLinearKernels, the_case + ", paired", run);
}

void one_case(Random& random, int number) {
  LinearArgs args;
  args.m = random.one_of<int64_t>({0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 13, 17, 47, 48, 49, 50});
  args.k = number % 40 == 0 ? 1500 : random.width();
  args.n = random.width();
  args.epilogue = static_cast<LinearEpilogue>(number % 6);
  const bool wide = random.integer(0, 1) != 0;
  args.input_type = wide ? DataType::kS16 : DataType::kS8;
  args.pre_shift = wide ? static_cast<int>(random.integer(0, 16)) : 0;
  const int64_t limit = wide ? fixed::kMaxS16 : fixed::kMaxS8;
  // As large as the contract lets the products be with some room for the bias.
  while (limit * 127 * args.k >> args.pre_shift >= (int64_t{1} << 31) - 70000) ++args.pre_shift;

  std::vector<int32_t> sums;
  const std::vector<int8_t> weight = weights(random, args.n, args.k, sums);
  const int64_t channels = round_up(args.n, kLinearBlock);
  const int64_t worst = (limit * 127 * args.k >> args.pre_shift) + 1 + 65536;
  const int least = least_shift(worst);
  const auto bias = vector_of<int32_t>(random, channels, -65536, 65536, any_draw(random));
  const auto multiplier = vector_of<int32_t>(random, channels, int64_t{1} << 30,
                                             (int64_t{1} << 31) - 1, any_draw(random));
  auto shift = vector_of<int32_t>(random, channels, least, std::min(least + 18, fixed::kMaxShift),
                                  random.one_of({Draw::kEven, Draw::kLimits}));
  const auto gelu_multiplier =
      vector_of<int16_t>(random, round_up(args.n, 32), 0, fixed::kMaxS16, any_draw(random));
  args.weight = weight.data();
  args.weight_sum = sums.data();
  args.bias = bias.data();
  args.multiplier = multiplier.data();
  args.shift = shift.data();
  args.zero_point = static_cast<int32_t>(draw(random, any_draw(random), -127, 127));
  args.gelu_multiplier = gelu_multiplier.data();
  args.gelu = random.one_of({fixed::kGeluMinimax, fixed::kGeluIbert});
  args.gelu_shift = static_cast<int>(random.integer(1, 30));
  const auto residual = Matrix<int16_t>::random(random, args.m, args.n, -fixed::kMaxS16,
                                                fixed::kMaxS16, any_draw(random));
  args.residual = residual.data();
  args.residual_stride = residual.stride();
  args.residual_multiplier = static_cast<int32_t>(draw(random, any_draw(random), 0, 32767));
  args.residual_shift = static_cast<int>(random.integer(1, 30));
  const auto narrow_input =
      Matrix<int8_t>::random(random, args.m, args.k, -127, 127, any_draw(random));
  const auto wide_input = Matrix<int16_t>::random(random, args.m, args.k, -fixed::kMaxS16,
                                                  fixed::kMaxS16, any_draw(random));
  args.input = wide ? static_cast<const void*>(wide_input.data()) : narrow_input.data();
  args.input_stride = wide ? wide_input.stride() : narrow_input.stride();

  const std::string the_case = describe({{"m", args.m},
                                         {"k", args.k},
                                         {"n", args.n},
                                         {"s16", wide},
                                         {"epilogue", number % 6},
                                         {"pre_shift", args.pre_shift},
                                         {"shift from", least}});
  switch (linear_output_type(args.epilogue)) {
    case DataType::kS8:
      return check<int8_t>(random, args, the_case);
    case DataType::kS16:
      return check<int16_t>(random, args, the_case);
    case DataType::kS32:
      return check<int32_t>(random, args, the_case);
  }
}

}  // namespace

void test_linear(int cases) {
  Random random(1);
  for (int number = 0; number < cases; ++number) one_case(random, number);
}

}  // namespace pyqrt::test
