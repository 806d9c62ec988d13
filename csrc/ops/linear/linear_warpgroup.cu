// linear by products of warpgroups. A block, one warpgroup, computes 128 channels of kTokens rows of
// input; the product is turned round, weights W on the left and inputs x on the right: W x^T.
//   Weights go to registers as they lie in the file: of a vector [k/4][16][4], a lane (group g,
// member t) holds four channels, 4 g ..., of inputs 4 t ...: rows g and g + 8 of two products.
//   A lane's accumulators are then the same four neighbouring channels of all rows.
//   Inputs are read by the tensor cores from shared memory, row by row.
#include "cuda/kernels.h"
#include "cuda/launch.h"
#include "cuda/operand_b.h"
#include "ops/linear/linear_channels.h"
#include "ops/linear/linear_warpgroup.h"

namespace pyqrt::cuda {
namespace {

constexpr int kCapability = 90;
constexpr int kThreads = 4 * kWarp;
constexpr int kBlockChannels = 128;  // 32 of each warp
constexpr int kSlice = 128;          // inputs of a stage
constexpr int kGroups = kSlice / kLinearGroup;
constexpr int kWeightBytes = kBlockChannels * kSlice;

template <int kTokens_, int kStages_>
struct Tile {
  static constexpr int kTokens = kTokens_;
  static constexpr int kStages = kStages_;
  static constexpr int kStageBytes = kWeightBytes + kTokens * kSlice;  // inputs first
  static constexpr int kSharedBytes = kStages * kStageBytes;
};

struct Arguments {
  LinearArgs linear;
  const int32_t* live_rows;  // null: all
};

PYQRT_DEVICE void begin_weights(const LinearArgs& args, int64_t first_block, int64_t first_input,
                                uint8_t* to) {
  const int64_t blocks = ceil_div(args.n, kLinearBlock);
  const int64_t groups = ceil_div(args.k, kLinearGroup);
  PYQRT_UNROLL
  for (int i = 0; i < kWeightBytes / 16 / kThreads; ++i) {
    const int copy = i * kThreads + thread_index();
    const int quarter = copy % 4;
    const int group = copy / 4 % kGroups;
    const int block = copy / 4 / kGroups;
    const int64_t from_group = first_input / kLinearGroup + group;
    const bool there = first_block + block < blocks && from_group < groups;
    Copy16 copy16;
    copy16.begin(to + 16 * vector_index<kGroups>(block, group, quarter),
                 args.weight + ((first_block + block) * groups + from_group) * 64 + quarter * 16,
                 there ? 16 : 0);
  }
}

template <int kTokens>
PYQRT_DEVICE void begin_input(const LinearArgs& args, int64_t rows, int64_t first_row,
                              int64_t first_input, uint8_t* to) {
  const auto* input = static_cast<const int8_t*>(args.input);
  PYQRT_UNROLL
  for (int i = 0; i < kTokens * 8 / kThreads; ++i) {
    const int copy = i * kThreads + thread_index();
    const int row = copy / 8;
    const int chunk = copy % 8;
    const int64_t column = first_input + 16 * chunk;
    const int64_t there = first_row + row < rows ? args.k - column : 0;
    Copy16 copy16;
    copy16.begin(to + row * kSlice + 16 * (chunk ^ (row % 8)),
                 input + (first_row + row) * args.input_stride + column,
                 there < 0 ? 0 : there > 16 ? 16 : static_cast<int>(there));
  }
}

template <class Tile>
PYQRT_DEVICE void multiply_slice(int32_t (&sums)[2][Tile::kTokens / 2], const uint8_t* stage,
                                 int warp, Lane lane) {
  const uint8_t* weights = stage + Tile::kTokens * kSlice;
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
    const auto b = matrix_descriptor(stage + step * kDepth);
    PYQRT_UNROLL
    for (int half = 0; half < 2; ++half) {
      warpgroup_multiply<Tile::kTokens>(sums[half], a[step][half], b);
    }
  }
}

// A lane's rows, 0 to kTokens / 4 - 1, of a tile; and of sum(i) of channel j, where it is.
PYQRT_DEVICE int row_of(int i, int member) {
  return i / 2 * 8 + 2 * member + i % 2;
}
PYQRT_DEVICE int element_of(int i, int j) {
  return i / 2 * 4 + j % 2 * 2 + i % 2;  // of product j / 2
}

// Rows whose channels move as vectors.
template <LinearEpilogue kEpilogue, int kTokens>
PYQRT_DEVICE void store_vectors(const ChannelEpilogue<kEpilogue, 4>& epilogue, int64_t rows,
                                const int32_t (&sums)[2][kTokens / 2], int64_t first_row,
                                int member) {
  constexpr int kAhead = 8;  // residuals are read so many rows ahead: memory takes its time
  PYQRT_UNROLL
  for (int first = 0; first < kTokens / 4; first += kAhead) {
    int32_t residual[kAhead][4];
    PYQRT_UNROLL
    for (int i = 0; i < kAhead; ++i) {
      const int64_t row = first_row + row_of(first + i, member);
      if (row < rows) epilogue.template load_residual<true>(residual[i], row);
    }
    PYQRT_UNROLL
    for (int i = 0; i < kAhead; ++i) {
      const int64_t row = first_row + row_of(first + i, member);
      if (row >= rows) continue;
      epilogue.template store<true>(
          row, [&](int j) { return sums[j / 2][element_of(first + i, j)]; }, residual[i]);
    }
  }
}

// Any rows, from sums that the lane has put into shared memory: [row of the lane][thread] vectors
// of its four channels.
template <LinearEpilogue kEpilogue>
PYQRT_DEVICE void store_any(const ChannelEpilogue<kEpilogue, 4>& epilogue, int64_t rows, int count,
                            int64_t first_row, int member) {
  for (int i = 0; i < count; ++i) {
    const int64_t row = first_row + row_of(i, member);
    if (row >= rows) continue;
    const auto sum =
        load_vector<Vector16>(shared_memory() + 16 * (i * kThreads + thread_index()));
    int32_t residual[4];
    epilogue.load_residual(residual, row);
    epilogue.store(row, [&](int j) { return static_cast<int32_t>(sum.word[j]); }, residual);
  }
}

template <LinearEpilogue kEpilogue, int kTokens>
PYQRT_DEVICE void store_sums(const LinearArgs& args, int64_t rows,
                             const int32_t (&sums)[2][kTokens / 2], int64_t first_row,
                             int64_t channel, int member) {
  const int count = args.n - channel < 4 ? static_cast<int>(args.n - channel) : 4;
  const ChannelEpilogue<kEpilogue, 4> epilogue(args, channel, count);
  if (epilogue.vectors()) {
    store_vectors<kEpilogue, kTokens>(epilogue, rows, sums, first_row, member);
    return;
  }
  PYQRT_UNROLL
  for (int i = 0; i < kTokens / 4; ++i) {
    Vector16 sum;
    PYQRT_UNROLL
    for (int j = 0; j < 4; ++j) sum.word[j] = static_cast<uint32_t>(sums[j / 2][element_of(i, j)]);
    store_vector(shared_memory() + 16 * (i * kThreads + thread_index()), sum);
  }
  store_any<kEpilogue>(epilogue, rows, kTokens / 4, first_row, member);
}

template <class Tile>
PYQRT_GLOBAL void PYQRT_BOUNDS(kThreads, 2) warpgroup_kernel(Arguments arguments) {
  if (!has_warpgroup()) return;
  const LinearArgs& args = arguments.linear;
  const int64_t block_row = int64_t{block_y()} * Tile::kTokens;
  const int64_t block_channel = int64_t{block_x()} * kBlockChannels;
  const int slices = static_cast<int>(ceil_div(args.k, kSlice));
  const auto stage = [](int number) {
    return shared_memory() + number % Tile::kStages * Tile::kStageBytes;
  };
  const auto weights = [&](int number) {
    begin_weights(args, block_channel / kLinearBlock, int64_t{number} * kSlice,
                  stage(number) + Tile::kTokens * kSlice);
  };
  PYQRT_UNROLL
  for (int s = 0; s < Tile::kStages - 1; ++s) {
    if (s < slices) weights(s);
  }
  wait_for_kernel_before();
  const int64_t rows = arguments.live_rows == nullptr ? args.m : *arguments.live_rows;
  const auto input = [&](int number) {
    begin_input<Tile::kTokens>(args, rows, block_row, int64_t{number} * kSlice, stage(number));
  };
  PYQRT_UNROLL
  for (int s = 0; s < Tile::kStages - 1; ++s) {
    if (s < slices) input(s);
    commit_copies();
  }
  if (block_row >= rows) {
    copies_arrived<0>();
    return;
  }

  const int warp = thread_index() / kWarp;
  const Lane lane = lane_of(thread_index());
  int32_t sums[2][Tile::kTokens / 2] = {};
  for (int s = 0; s < slices; ++s) {
    copies_arrived<Tile::kStages - 2>();
    show_to_tensor_cores();
    sync_block();  // slice s is there
    multiply_slice<Tile>(sums, stage(s), warp, lane);
    const int next = s + Tile::kStages - 1;  // to where slice s - 1 was, which nobody reads
    if (next < slices) {
      input(next);
      weights(next);
    }
    commit_copies();
    warpgroup_wait();
  }

  const int64_t channel = block_channel + warp * kChannels + 4 * lane.group;
  sync_block();  // the stages have been read
  if (channel >= args.n) return;
  with_epilogue(args.epilogue, [&](auto epilogue) {
    store_sums<decltype(epilogue)::value, Tile::kTokens>(args, rows, sums, block_row, channel,
                                                         lane.member);
  });
}

template <int kTokens>
int64_t blocks(const LinearArgs& args) {
  return ceil_div(args.m, kTokens) * ceil_div(args.n, kBlockChannels);
}

// Rows of input that the busiest multiprocessor works off, with what a block costs besides.
template <int kTokens>
int64_t cost(const LinearArgs& args, const Stream& stream) {
  constexpr int64_t kBlock = 16;
  return ceil_div(blocks<kTokens>(args), stream.device().multiprocessors) * (kTokens + kBlock);
}

template <class Tile>
void launch_tile(const LinearArgs& args, const int32_t* live_rows, Stream& stream) {
  launch<Arguments>(warpgroup_kernel<Tile>,
                    {ceil_div(args.n, kBlockChannels), ceil_div(args.m, Tile::kTokens)}, kThreads,
                    Tile::kSharedBytes, stream, {args, live_rows});
}

}  // namespace

TileSize warpgroup_tile(const LinearArgs& args, const Stream& stream) {
  const Device& device = stream.device();
  if (device.capability != kCapability || 4 * blocks<64>(args) < 3 * device.multiprocessors) {
    return TileSize::kAny;
  }
  const int64_t costs[] = {cost<64>(args, stream), cost<96>(args, stream), cost<128>(args, stream)};
  if (costs[0] < costs[1] && costs[0] < costs[2]) return TileSize::kWarpgroup64;
  return costs[1] < costs[2] ? TileSize::kWarpgroup96 : TileSize::kWarpgroup128;
}

void launch_linear_warpgroup(const LinearArgs& args, const int32_t* live_rows, Stream& stream,
                             TileSize tile) {
  if (stream.device().capability != kCapability || args.input_type != DataType::kS8) {
    throw Error("products of warpgroups take int8 input, on compute capability 9.0");
  }
  if (tile == TileSize::kWarpgroup64) {
    launch_tile<Tile<64, 4>>(args, live_rows, stream);
  } else if (tile == TileSize::kWarpgroup96) {
    launch_tile<Tile<96, 3>>(args, live_rows, stream);
  } else {
    launch_tile<Tile<128, 3>>(args, live_rows, stream);
  }
}

}  // namespace pyqrt::cuda
