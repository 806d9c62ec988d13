// The ops that treat every number or every row by itself: gelu, lookup, normalize, embedding, pool,
// multiply, rotary; and neighbours, match.
#include "ops/embedding/embedding.h"
#include "ops/gelu/gelu.h"
#include "ops/lookup/lookup.h"
#include "ops/match/match.h"
#include "ops/multiply/multiply.h"
#include "ops/neighbours/neighbours.h"
#include "ops/normalize/normalize.h"
#include "ops/pool/pool.h"
#include "ops/rotary/rotary.h"
#include "tests/harness.h"

namespace pyqrt::test {
namespace {

Matrix<int16_t> words(Random& random, int64_t rows, int64_t width) {
  const int64_t limit = random.one_of<int64_t>({32767, 32767, 5000, 0});
  return Matrix<int16_t>::random(random, rows, width, -limit, limit, any_draw(random));
}

// Runs a kernel that writes `pointer`, [rows, width], for the given items in two parts.
template <class Output, class Kernels, class Args>
void check_items(const std::string& op, const Kernels& kernels, Args args, int64_t items,
                 int64_t rows, int64_t width, Output* Args::*pointer = &Args::output) {
  check_variants(op, kernels, describe({{"items", items}, {"rows", rows}, {"width", width}}),
                 [&](auto& kernel) {
                   Matrix<Output> output(rows, width, 3);
                   args.*pointer = output.data();
                   args.output_stride = output.stride();
                   kernel(args, Range{0, items / 2});
                   kernel(args, Range{items / 2, items});
                   std::vector<uint8_t> bytes;
                   append_bytes(bytes, output.memory());
                   return bytes;
                 });
}

// The same where a row is an item.
template <class Output, class Kernels, class Args>
void check_rows(const std::string& op, const Kernels& kernels, Args args, int64_t rows,
                int64_t width, Output* Args::*pointer = &Args::output) {
  check_items<Output>(op, kernels, args, rows, rows, width, pointer);
}

// Offsets of up to four sequences of at most `longest` tokens, from row `first` on.
std::vector<int32_t> sequences_of(Random& random, int64_t first, int64_t longest) {
  std::vector<int32_t> offsets{static_cast<int32_t>(first)};
  for (int64_t left = random.integer(0, 4); left > 0; --left) {
    offsets.push_back(offsets.back() + static_cast<int32_t>(random.integer(0, longest)));
  }
  return offsets;
}

}  // namespace

void test_gelu(int cases) {
  Random random(5);
  for (int number = 0; number < cases; ++number) {
    const int64_t rows = number == 0 ? 1 : random.integer(0, 5);
    GeluArgs args;
    args.n = number == 0 ? 65535 : random.width();  // first every number there is
    auto input = words(random, rows, args.n);
    if (number == 0) {
      for (int64_t j = 0; j < args.n; ++j) input.data()[j] = static_cast<int16_t>(j - 32767);
    }
    const auto multiplier = vector_of<int16_t>(random, args.n, 0, 32767, any_draw(random));
    args.input = input.data();
    args.input_stride = input.stride();
    args.polynomial = random.one_of({fixed::kGeluMinimax, fixed::kGeluIbert});
    args.multiplier = multiplier.data();
    args.shift = static_cast<int>(random.integer(1, 30));
    args.zero_point = static_cast<int32_t>(random.integer(-127, 127));
    check_rows<int8_t>("gelu", kGeluKernels, args, rows, args.n);
  }
}

void test_lookup(int cases) {
  Random random(6);
  for (int number = 0; number < cases; ++number) {
    const int64_t rows = random.integer(0, 5);
    LookupArgs args;
    args.width = random.width();
    const auto input = words(random, rows, args.width);
    const auto table = vector_of<int16_t>(random, kLookupEntries, -32767, 32767, any_draw(random));
    args.input = input.data();
    args.input_stride = input.stride();
    args.table = table.data();
    check_rows<int16_t>("lookup", kLookupKernels, args, rows, args.width);
  }
}

void test_normalize(int cases) {
  Random random(7);
  for (int number = 0; number < cases; ++number) {
    const int64_t rows = random.integer(0, 5);
    NormalizeArgs args;
    args.width = random.width();
    auto input = words(random, rows, args.width);
    // One number alone in a row: its length is a power of two, the largest inverse there is.
    if (number % 3 == 0 && rows > 0) {
      for (int64_t j = 0; j < args.width; ++j) input.data()[j] = 0;
      input.data()[random.integer(0, args.width - 1)] =
          random.one_of<int16_t>({1, -1, 2, 16384, -16384, 32767, -32767});
    }
    args.input = input.data();
    args.input_stride = input.stride();
    check_rows<int32_t>("normalize", kNormalizeKernels, args, rows, args.width);
  }
}

void test_embedding(int cases) {
  Random random(8);
  for (int number = 0; number < cases; ++number) {
    constexpr int64_t kEntries = 9;
    const int64_t rows = random.integer(0, 5);
    EmbeddingArgs args;
    args.width = random.width();
    args.tables = static_cast<int>(random.integer(1, kMaxEmbeddingTables));
    args.shift = static_cast<int>(random.integer(1, 30));
    std::vector<std::vector<int8_t>> data;
    std::vector<std::vector<int16_t>> multipliers;
    std::vector<std::vector<int32_t>> indices;
    for (int t = 0; t < args.tables; ++t) {
      data.push_back(vector_of<int8_t>(random, kEntries * args.width, -127, 127, any_draw(random)));
      multipliers.push_back(vector_of<int16_t>(random, kEntries, 0, 32767, any_draw(random)));
      indices.push_back(vector_of<int32_t>(random, rows, 0, kEntries - 1));
    }
    for (std::size_t t = 0; t < data.size(); ++t) {
      args.table[t] = {data[t].data(), multipliers[t].data(), indices[t].data()};
    }
    check_rows<int16_t>("embedding", kEmbeddingKernels, args, rows, args.width);
  }
}

void test_pool(int cases) {
  Random random(9);
  for (int number = 0; number < cases; ++number) {
    const auto offsets = sequences_of(random, random.integer(0, 2), 40);
    const auto sequences = static_cast<int64_t>(offsets.size()) - 1;
    PoolArgs args;
    args.kind = random.one_of({PoolKind::kFirst, PoolKind::kLast, PoolKind::kMax, PoolKind::kToken,
                               PoolKind::kMean, PoolKind::kMean});
    const auto ids = vector_of<int32_t>(random, offsets.back(), 0, 9, Draw::kEven);
    args.ids = ids.data();
    args.token = static_cast<int32_t>(random.integer(0, 9));
    args.width = random.width();
    const auto input = words(random, offsets.back(), args.width);
    args.input = input.data();
    args.input_stride = input.stride();
    args.offsets = offsets.data();
    check_rows<int16_t>("pool", kPoolKernels, args, sequences, args.width);
  }
}

void test_multiply(int cases) {
  Random random(10);
  for (int number = 0; number < cases; ++number) {
    const int64_t rows = random.integer(0, 20);
    MultiplyArgs args;
    args.width = random.width();
    const auto a = words(random, rows, args.width);
    const auto b = words(random, rows, args.width);
    const Draw how = random.one_of({Draw::kEven, Draw::kLimits});
    const auto multiplier =
        vector_of<int32_t>(random, args.width, int64_t{1} << 30, INT32_MAX, how);
    const int64_t most = random.one_of<int64_t>({kMultiplyMinShift, 33, 50, fixed::kMaxShift});
    const auto shift = vector_of<int32_t>(random, args.width, kMultiplyMinShift, most, how);
    args.a = a.data();
    args.a_stride = a.stride();
    args.b = b.data();
    args.b_stride = b.stride();
    args.multiplier = multiplier.data();
    args.shift = shift.data();
    check_rows("multiply", kMultiplyKernels, args, rows, args.width, &MultiplyArgs::output16);
    args.zero_point = static_cast<int32_t>(random.integer(-127, 127));
    check_rows("multiply", kMultiplyKernels, args, rows, args.width, &MultiplyArgs::output8);
  }
}

void test_rotary(int cases) {
  Random random(11);
  for (int number = 0; number < cases; ++number) {
    constexpr int64_t kPositions = 9;
    const int64_t rows = random.integer(0, 5);
    RotaryArgs args;
    args.heads = random.integer(1, 4);
    args.head_dim = 1 + random.width();
    const int64_t pairs =
        random.one_of<int64_t>({args.head_dim / 2, random.integer(1, args.head_dim / 2)});
    args.rotated = 2 * pairs;
    args.shift = static_cast<int>(random.integer(15, 24));
    const int64_t width = args.heads * args.head_dim;
    const auto input = words(random, rows, width);
    const auto position = vector_of<int32_t>(random, rows, 0, kPositions - 1);
    const Draw how = any_draw(random);
    const auto table = [&] {
      Matrix<int16_t> entries(kPositions, pairs, 0);
      for (int64_t e = 0; e < kPositions * pairs; ++e) {
        entries.data()[e] = static_cast<int16_t>(draw(random, how, -kRotaryOne, kRotaryOne));
      }
      return entries;
    };
    const auto cosine = table();
    const auto sine = table();
    args.position = position.data();
    args.cosine = cosine.data();
    args.sine = sine.data();
    args.input = input.data();
    args.input_stride = input.stride();
    check_rows<int8_t>("rotary", kRotaryKernels, args, rows, width);
  }
}

void test_neighbours(int cases) {
  Random random(12);
  for (int number = 0; number < cases; ++number) {
    const auto offsets = sequences_of(random, 0, 9);
    const auto sequences = static_cast<int64_t>(offsets.size()) - 1;
    NeighboursArgs args;
    args.width = random.width();
    args.reach = random.integer(1, kNeighboursMaxReach);
    const auto input = words(random, offsets.back(), args.width);
    args.input = input.data();
    args.input_stride = input.stride();
    args.offsets = offsets.data();
    const int64_t width = (2 * args.reach + 1) * args.width;
    check_items<int16_t>("neighbours", kNeighboursKernels, args, sequences, offsets.back(), width);
  }
}

void test_match(int cases) {
  Random random(13);
  for (int number = 0; number < cases; ++number) {
    const auto offsets = sequences_of(random, 0, 9);
    const auto sequences = static_cast<int64_t>(offsets.size()) - 1;
    MatchArgs args;
    args.width = random.width();
    args.shift = static_cast<int>(random.integer(fixed::bit_length(args.width), kMatchMaxShift));
    const auto tokens = words(random, offsets.back(), args.width);
    const auto rows = words(random, sequences, args.width);
    args.token = tokens.data();
    args.token_stride = tokens.stride();
    args.row = rows.data();
    args.row_stride = rows.stride();
    args.offsets = offsets.data();
    check_items<int32_t>("match", kMatchKernels, args, sequences, offsets.back(), 1);
  }
}

}  // namespace pyqrt::test
