#include <algorithm>

#include "ops/attention/attention.h"
#include "tests/harness.h"

namespace pyqrt::test {

void test_attention(int cases) {
  Random random(2);
  for (int number = 0; number < cases; ++number) {
    AttentionArgs args;
    args.heads = random.integer(1, 3);
    args.head_dim = random.one_of<int64_t>({1, 3, 4, 8, 15, 16, 17, 20, 32, 33, 48, 64, 80});
    const int64_t sequences = random.integer(1, 3);
    int64_t longest = 0;
    std::vector<int32_t> offsets{static_cast<int32_t>(random.integer(0, 2))};
    for (int64_t s = 0; s < sequences; ++s) {
      int64_t length = random.one_of<int64_t>({0, 1, 2, 5, 15, 16, 17, 33, 64, 70});
      // Longer than a chunk of keys, a few times.
      if (number % 20 == 19 && s == 0) length = random.one_of<int64_t>({1024, 1025, 1100});
      longest = std::max(longest, length);
      offsets.push_back(offsets.back() + static_cast<int32_t>(length));
    }
    if (longest > 1000) {
      args.heads = 1;
      args.head_dim = std::min<int64_t>(args.head_dim, 20);
    }
    const int64_t width = args.heads * args.head_dim;
    const auto input = [&](int64_t rows) {
      return Matrix<int8_t>::random(random, rows, width, -127, 127, any_draw(random));
    };
    args.global_key = random.integer(0, 2) == 0;
    args.global_query = random.integer(0, 4) == 0;
    const auto ids = vector_of<int32_t>(random, offsets.back(), 0, 20, Draw::kEven);
    args.ids = ids.data();
    args.until = random.one_of<int32_t>({-1, 5});
    if (args.until < 0) args.after = random.one_of<int32_t>({-1, 5});
    const bool one_query = args.global_query && args.until < 0 && args.after < 0;
    const Matrix<int8_t> query = input(one_query ? sequences : offsets.back());
    const Matrix<int8_t> key = input(offsets.back()), value = input(offsets.back());
    const auto score_multiplier =
        vector_of<uint32_t>(random, args.heads, 1, 1 << random.integer(4, 30));
    const auto output_multiplier = vector_of<int32_t>(random, args.heads, 1 << 13, (1 << 14) - 1);
    const auto output_exponent = vector_of<int32_t>(random, args.heads, -8, 2);
    args.query = query.data();
    args.key = key.data();
    args.value = value.data();
    args.query_stride = query.stride();
    args.key_stride = key.stride();
    args.value_stride = value.stride();
    args.offsets = offsets.data();
    args.score_multiplier = score_multiplier.data();
    args.output_multiplier = output_multiplier.data();
    args.output_exponent = output_exponent.data();
    args.zero_point = static_cast<int32_t>(draw(random, any_draw(random), -127, 127));
    args.exponential = random.one_of({fixed::kExpMinimax, fixed::kExpIbert});
    args.window = random.one_of<int64_t>({-1, -1, 0, 3, 20, 40});
    const auto block_bias = vector_of<int32_t>(random, args.heads, -9999, 99999);
    if (args.window < 0 && !args.global_key && !args.global_query && random.integer(0, 1) == 0) {
      args.block = random.one_of<int64_t>({1, 2, 5, 8, 16, 20, 64});
      args.block_beyond = random.one_of<int64_t>({0, 20, 40});
      args.block_bias = block_bias.data();
    }
    // Relative positions: any of the three terms.
    args.relative_reach = random.one_of<int64_t>({0, 3, 20});
    args.relative_rows = random.one_of<int64_t>({1, 7, 33});
    const auto index =
        vector_of<int32_t>(random, 2 * args.relative_reach + 1, 0, args.relative_rows - 1);
    const auto bias = vector_of<int32_t>(random, args.heads * args.relative_rows, -9999, 9999);
    const auto by_key = vector_of<int8_t>(random, args.relative_rows * width, -127, 127);
    const auto by_query = vector_of<int8_t>(random, args.relative_rows * width, -127, 127);
    if (random.integer(0, 1) == 0) {
      args.relative_rows = 0;
    } else {
      args.relative_index = index.data();
      if (random.integer(0, 1) != 0) args.relative_bias = bias.data();
      if (random.integer(0, 1) != 0) args.relative_key = by_key.data();
      if (random.integer(0, 1) != 0) args.relative_query = by_query.data();
    }
    const int64_t items = sequences * args.heads;
    const int64_t cut = random.integer(0, items);
    const std::string the_case = describe({{"heads", args.heads},
                                           {"head_dim", args.head_dim},
                                           {"sequences", sequences},
                                           {"longest", longest},
                                           {"window", args.window},
                                           {"global_key", args.global_key},
                                           {"global_query", args.global_query},
                                           {"until", args.until},
                                           {"after", args.after},
                                           {"block", args.block},
                                           {"block_beyond", args.block_beyond},
                                           {"relative", args.relative_rows}});
    check_variants("attention", kAttentionKernels, the_case, [&](AttentionKernel& kernel) {
      Matrix<int8_t> output(offsets.back(), width, 5);
      const Scratch scratch(attention_scratch_bytes(longest, args.head_dim, args.relative_rows));
      args.output = output.data();
      args.output_stride = output.stride();
      kernel(args, Range{0, cut}, longest, scratch.get());
      kernel(args, Range{cut, items}, longest, scratch.get());
      std::vector<uint8_t> bytes(1, scratch.overrun());
      append_bytes(bytes, output.memory());
      return bytes;
    });
  }
}

}  // namespace pyqrt::test
