// linear by products of warpgroups. A block computes 128 channels; each of its warpgroups has them
// for kTokens rows of input. The product is turned round, weights W on the left and inputs x on the
// right: W x^T.
//   Weights go to registers as they lie in the file: of a vector [k/4][16][4], a lane (group g,
// member t) holds four channels, 4 g ..., of inputs 4 t ...: rows g and g + 8 of two products.
//   A lane's accumulators are then the same four neighbouring channels of all rows.
//   Inputs are read by the tensor cores from shared memory, row by row.
#include "cuda/launch.h"
#include "cuda/operand_b.h"
#include "cuda/slice_copies.h"
#include "ops/linear/linear_channels.h"
#include "ops/linear/linear_warpgroup.h"

namespace pyqrt::cuda {
namespace {

constexpr int kGroupThreads = 4 * kWarp;
constexpr int kBlockChannels = 128;  // 32 of each warp
constexpr int kSlice = 128;          // inputs of a stage
constexpr int kGroups = kSlice / kLinearGroup;
constexpr int kWeightBytes = kBlockChannels * kSlice;

template <int kTokens_, int kWarpgroups, int kStages_>
struct Tile {
  static constexpr int kTokens = kTokens_;  // of a warpgroup
  static constexpr int kRows = kWarpgroups * kTokens;
  static constexpr int kThreads = kWarpgroups * kGroupThreads;
  static constexpr int kBlocks = 2 / kWarpgroups;  // that share a multiprocessor
  static constexpr int kStages = kStages_;
  static constexpr int kInputBytes = kRows * kSlice;
  static constexpr int kStageBytes = kInputBytes + kWeightBytes;
  static constexpr int kSharedBytes = kStages * kStageBytes;
  static_assert(kRows * kBlockChannels * 4 <= kSharedBytes);  // the sums, at the end
};

struct Arguments {
  LinearArgs linear;
  const int32_t* live_rows;  // null: all
};

template <class Tile>
PYQRT_DEVICE void multiply_slice(int32_t (&sums)[2][Tile::kTokens / 2], const uint8_t* stage,
                                 int warpgroup, int warp, Lane lane) {
  const uint8_t* weights = stage + Tile::kInputBytes;
  const uint8_t* input = stage + warpgroup * Tile::kTokens * kSlice;
  uint32_t a[kSlice / kDepth][2][4];
  PYQRT_UNROLL
  for (int step = 0; step < kSlice / kDepth; ++step) {
    const OperandB words = load_b<kGroups>(weights, warp, step, lane);
    PYQRT_UNROLL
    for (int half = 0; half < 2; ++half) {
      a[step][half][0] = words.low.word[2 * half];
      a[step][half][1] = words.low.word[2 * half + 1];
      a[step][half][2] = words.high.word[2 * half];
      a[step][half][3] = words.high.word[2 * half + 1];
    }
  }
  warpgroup_begin();
  PYQRT_UNROLL
  for (int step = 0; step < kSlice / kDepth; ++step) {
    const auto b = matrix_descriptor(input + step * kDepth);
    PYQRT_UNROLL
    for (int half = 0; half < 2; ++half) {
      warpgroup_multiply<Tile::kTokens>(sums[half], a[step][half], b);
    }
  }
}

// The sums pass through shared memory, each lane reading its own again, so that the code of the
// epilogue is short: a loop over the lane's rows. Unrolled, most of its time went into fetching it.
template <class Tile>
PYQRT_DEVICE uint8_t* sums_of(int row) {
  return shared_memory() + 16 * (row * Tile::kThreads + thread_index());
}

// Puts down the lane's sums: for each of its rows a vector of four channels. Of channel j they are
// in product j / 2, where its row is (j % 2) * 8 + group.
template <class Tile>
PYQRT_DEVICE void put_sums(const int32_t (&sums)[2][Tile::kTokens / 2]) {
  PYQRT_UNROLL
  for (int i = 0; i < Tile::kTokens / 4; ++i) {
    Vector16 four;
    PYQRT_UNROLL
    for (int j = 0; j < 4; ++j) {
      four.word[j] = static_cast<uint32_t>(sums[j / 2][i / 2 * 4 + j % 2 * 2 + i % 2]);
    }
    store_vector(sums_of<Tile>(i), four);
  }
}

template <class Kind, class Tile>
PYQRT_DEVICE void store_sums(const LinearArgs& args, int64_t rows, int64_t first_row,
                             int64_t channel, int member) {
  const int count = args.n - channel < 4 ? static_cast<int>(args.n - channel) : 4;
  const ChannelEpilogue<Kind, 4> epilogue(args, channel, count);
  constexpr int kAtOnce = 4;  // rows whose residuals are on their way together
  PYQRT_NO_UNROLL
  for (int first = 0; first < Tile::kTokens / 4; first += kAtOnce) {
    int32_t residual[kAtOnce][4];
    PYQRT_UNROLL
    for (int i = 0; i < kAtOnce; ++i) {
      const int64_t row = first_row + (first + i) / 2 * 8 + 2 * member + i % 2;
      if (row < rows) epilogue.load_residual(residual[i], row);
    }
    PYQRT_UNROLL
    for (int i = 0; i < kAtOnce; ++i) {
      const int64_t row = first_row + (first + i) / 2 * 8 + 2 * member + i % 2;
      if (row >= rows) continue;
      const auto four = load_vector<Vector16>(sums_of<Tile>(first + i));
      epilogue.store(row, [&](int j) { return static_cast<int32_t>(four.word[j]); }, residual[i]);
    }
  }
}

template <class Tile>
PYQRT_GLOBAL void PYQRT_BOUNDS(Tile::kThreads, Tile::kBlocks)
    warpgroup_kernel(Arguments arguments) {
  if (!has_warpgroup()) return;
  const LinearArgs& args = arguments.linear;
  const int64_t block_row = int64_t{block_y()} * Tile::kRows;
  const int64_t block_channel = int64_t{block_x()} * kBlockChannels;
  const int slices = static_cast<int>(ceil_div(args.k, kSlice));
  const auto stage = [](int number) {
    return shared_memory() + number % Tile::kStages * Tile::kStageBytes;
  };
  const auto weight_place = [&](int number) {
    return [to = stage(number) + Tile::kInputBytes](int block, int vector) {
      return to + 16 * vector_index<kGroups>(block, vector / 4, vector % 4);
    };
  };
  const auto input_place = [&](int number) {
    return [to = stage(number)](int row, int vector) {
      return to + row * kSlice + 16 * (vector ^ (row % 8));
    };
  };
  // Weights do not depend on the kernel before this one, whose results the input is.
  const int64_t block_bytes = ceil_div(args.k, kLinearGroup) * kLinearGroup * kLinearBlock;
  const int64_t first_block = block_channel / kLinearBlock;
  SliceCopies<kBlockChannels / kLinearBlock, 4 * kGroups, Tile::kThreads> weights(
      args.weight + first_block * block_bytes, block_bytes,
      ceil_div(args.n, kLinearBlock) - first_block, block_bytes);
  PYQRT_NO_UNROLL
  for (int s = 0; s < Tile::kStages - 1 && s < slices; ++s) weights.begin(s, weight_place(s));
  wait_for_kernel_before();
  const int64_t rows = arguments.live_rows == nullptr ? args.m : *arguments.live_rows;
  if (block_row >= rows) {
    commit_copies();
    copies_arrived<0>();
    return;
  }
  SliceCopies<Tile::kRows, kSlice / 16, Tile::kThreads> input(
      static_cast<const int8_t*>(args.input) + block_row * args.input_stride, args.input_stride,
      rows - block_row, args.k);
  PYQRT_NO_UNROLL
  for (int s = 0; s < Tile::kStages - 1; ++s) {
    if (s < slices) input.begin(s, input_place(s));
    commit_copies();
  }

  const int warpgroup = thread_index() / kGroupThreads;
  const int warp = thread_index() % kGroupThreads / kWarp;
  const Lane lane = lane_of(thread_index());
  int32_t sums[2][Tile::kTokens / 2] = {};
  for (int s = 0; s < slices; ++s) {
    copies_arrived<Tile::kStages - 2>();
    show_to_tensor_cores();
    sync_block();  // slice s is there, and nobody reads slice s - 1 any more
    multiply_slice<Tile>(sums, stage(s), warpgroup, warp, lane);
    const int next = s + Tile::kStages - 1;
    if (next < slices) {
      input.begin(next, input_place(next));
      weights.begin(next, weight_place(next));
    }
    commit_copies();
    warpgroup_wait();
  }

  sync_block();  // nor the last
  put_sums<Tile>(sums);
  const int64_t channel = block_channel + warp * kChannels + 4 * lane.group;
  if (channel >= args.n) return;
  with_epilogue_kind(args, [&](auto kind) {
    store_sums<decltype(kind), Tile>(args, rows, block_row + warpgroup * Tile::kTokens, channel,
                                     lane.member);
  });
}

template <class Tile>
void launch_tile(const LinearArgs& args, const int32_t* live_rows, Stream& stream) {
  launch<Arguments>(warpgroup_kernel<Tile>,
                    {ceil_div(args.n, kBlockChannels), ceil_div(args.m, Tile::kRows)},
                    Tile::kThreads, Tile::kSharedBytes, stream, {args, live_rows});
}

}  // namespace

void launch_linear_warpgroup(const LinearArgs& args, const int32_t* live_rows, Stream& stream,
                             TileSize tile) {
  if (!stream.device().warpgroups || args.input_type != DataType::kS8) {
    throw Error(
        "products of warpgroups take int8 input, on compute capability 9.0 by code for 90a");
  }
  if (tile == TileSize::kWarpgroup64) {
    launch_tile<Tile<64, 1, 4>>(args, live_rows, stream);
  } else if (tile == TileSize::kWarpgroup96) {
    launch_tile<Tile<96, 1, 3>>(args, live_rows, stream);
  } else if (tile == TileSize::kWarpgroup192) {
    launch_tile<Tile<96, 2, 5>>(args, live_rows, stream);
  } else {
    launch_tile<Tile<128, 2, 4>>(args, live_rows, stream);
  }
}

}  // namespace pyqrt::cuda
