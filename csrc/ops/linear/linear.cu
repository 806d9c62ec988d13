// linear on a GPU. A block computes kRows x kColumns outputs; input and weights pass through shared
// memory in slices of kSlice inputs, kStages of which are on their way or in use. A warp owns some
// rows and columns of the outputs and, where a block has several warps in depth, every so many
// inputs of a slice: integer sums may be added up in any order.
//
// int16 input is two products: of its high bytes, signed, and of its low bytes, unsigned.
#include <type_traits>

#include "cuda/kernels.h"
#include "cuda/launch.h"
#include "cuda/operand_b.h"
#include "cuda/slice_copies.h"
#include "ops/linear/linear_channels.h"
#include "ops/linear/linear_warpgroup.h"

namespace pyqrt::cuda {
namespace {

template <class Input_, int kWarpRows_, int kWarpColumns_, int kWarpsM, int kWarpsN, int kWarpsK_,
          int kStages_>
struct Tile {
  using Input = Input_;
  static constexpr bool kWide = sizeof(Input) == 2;
  static constexpr int kWarpsK = kWarpsK_;
  static constexpr int kStages = kStages_;
  static constexpr int kWarpRows = kWarpRows_;        // 16-row tiles of a warp
  static constexpr int kWarpColumns = kWarpColumns_;  // 32-channel tiles of a warp
  static constexpr int kWarpsRows = kWarpsM;
  static constexpr int kWarpsMN = kWarpsM * kWarpsN;
  static constexpr int kThreads = kWarpsMN * kWarpsK * kWarp;
  static constexpr int kRows = kWarpsM * kWarpRows * 16;
  static constexpr int kColumns = kWarpsN * kWarpColumns * kChannels;
  static constexpr int kSlice = 64 * kWarpsK;
  static constexpr int kGroups = kSlice / kLinearGroup;
  // Rows of input lie so far apart that the rows of a fragment use different banks.
  static constexpr int kPitch = kSlice * static_cast<int>(sizeof(Input)) + (kWide ? 32 : 16);
  static constexpr int kInputBytes = kRows * kPitch;
  static constexpr int kStageBytes = kInputBytes + kColumns * kSlice;
  // The sums of the other warps in depth, when the slices are done.
  static constexpr int kSumBytes =
      (kWarpsK - 1) * kWarpsMN * kWarp * kWarpRows * kWarpColumns * 64 * (kWide ? 2 : 1);
  static constexpr int kSharedBytes =
      kStages * kStageBytes > kSumBytes ? kStages* kStageBytes : kSumBytes;
};

struct Arguments {
  LinearArgs linear;
  const int32_t* live_rows;  // null: all
};

template <class Tile>
using InputCopies =
    SliceCopies<Tile::kRows, Tile::kSlice* static_cast<int>(sizeof(typename Tile::Input)) / 16,
                Tile::kThreads>;
template <class Tile>
using WeightCopies = SliceCopies<Tile::kColumns / kLinearBlock, 4 * Tile::kGroups, Tile::kThreads>;

// The A fragments of 16 rows at `rows` and of 32 inputs from `input` on.
PYQRT_DEVICE void load_a(uint32_t (&a)[4], const uint8_t* rows, int pitch, int input) {
  const int lane = thread_index() % kWarp;
  load_matrices(a, rows + lane % 16 * pitch + input + lane / 16 * 16);
}

// The same of int16: high and low bytes apart.
PYQRT_DEVICE void load_a_wide(uint32_t (&high)[4], uint32_t (&low)[4], const uint8_t* rows,
                              int pitch, int input, Lane lane) {
  struct alignas(8) Four {
    uint32_t word[2];
  };
  PYQRT_UNROLL
  for (int i = 0; i < 4; ++i) {
    const int row = i % 2 * 8 + lane.group;
    const int column = input + i / 2 * 16 + 4 * lane.member;
    const auto four = load_vector<Four>(rows + row * pitch + 2 * column);
    high[i] = permute_bytes(four.word[0], four.word[1], 0x7531);
    low[i] = permute_bytes(four.word[0], four.word[1], 0x6420);
  }
}

template <class Tile>
struct Sums {
  Accumulator narrow[Tile::kWarpRows][Tile::kWarpColumns];  // of s16: of the high bytes
  Accumulator low[Tile::kWide ? Tile::kWarpRows : 1][Tile::kWide ? Tile::kWarpColumns : 1];
};

// Adds the products of a slice.
template <class Tile>
PYQRT_DEVICE void multiply_slice(Sums<Tile>& sums, const uint8_t* stage, int warp_row,
                                 int warp_column, int warp_depth, Lane lane) {
  constexpr int kSteps = Tile::kSlice / Tile::kWarpsK / kDepth;
  PYQRT_UNROLL
  for (int i = 0; i < kSteps; ++i) {
    const int step = warp_depth * kSteps + i;
    OperandB b[Tile::kWarpColumns];
    PYQRT_UNROLL
    for (int c = 0; c < Tile::kWarpColumns; ++c) {
      b[c] = load_b<Tile::kGroups>(stage + Tile::kInputBytes, warp_column * Tile::kWarpColumns + c,
                                   step, lane);
    }
    PYQRT_UNROLL
    for (int r = 0; r < Tile::kWarpRows; ++r) {
      const uint8_t* rows = stage + (warp_row * Tile::kWarpRows + r) * 16 * Tile::kPitch;
      uint32_t a[4];
      if constexpr (Tile::kWide) {
        uint32_t low[4];
        load_a_wide(a, low, rows, Tile::kPitch, step * kDepth, lane);
        PYQRT_UNROLL
        for (int c = 0; c < Tile::kWarpColumns; ++c) multiply<false>(sums.low[r][c], low, b[c]);
      } else {
        load_a(a, rows, Tile::kPitch, step * kDepth);
      }
      PYQRT_UNROLL
      for (int c = 0; c < Tile::kWarpColumns; ++c) multiply<true>(sums.narrow[r][c], a, b[c]);
    }
  }
}

// Calls body(accumulator, number) for every accumulator.
template <class Tile, class Body>
PYQRT_DEVICE void for_each_sum(Sums<Tile>& sums, const Body& body) {
  PYQRT_UNROLL
  for (int r = 0; r < Tile::kWarpRows; ++r) {
    PYQRT_UNROLL
    for (int c = 0; c < Tile::kWarpColumns; ++c) {
      body(sums.narrow[r][c], r * Tile::kWarpColumns + c);
      if constexpr (Tile::kWide) {
        body(sums.low[r][c], (Tile::kWarpRows + r) * Tile::kWarpColumns + c);
      }
    }
  }
}

// Brings the sums of all warps in depth to those of depth 0. Lane by lane, so without conflicts.
template <class Tile>
PYQRT_DEVICE void gather_depth(Sums<Tile>& sums, int warp, int warp_depth) {
  constexpr int kVectors = Tile::kWarpRows * Tile::kWarpColumns * 4 * (Tile::kWide ? 2 : 1);
  const int lane = thread_index() % kWarp;
  const auto place = [=](int depth, int vector) {
    return shared_memory() +
           16 * (((depth - 1) * Tile::kWarpsMN + warp) * kVectors + vector) * kWarp + 16 * lane;
  };
  sync_block();  // the slices have been read
  if (warp_depth > 0) {
    for_each_sum(sums, [&](Accumulator& sum, int number) {
      PYQRT_UNROLL
      for (int j = 0; j < 4; ++j) {
        Vector16 vector;
        PYQRT_UNROLL
        for (int e = 0; e < 4; ++e) vector.word[e] = static_cast<uint32_t>(sum.value[j][e]);
        store_vector(place(warp_depth, number * 4 + j), vector);
      }
    });
  }
  sync_block();
  if (warp_depth > 0) return;
  for_each_sum(sums, [&](Accumulator& sum, int number) {
    for (int depth = 1; depth < Tile::kWarpsK; ++depth) {
      PYQRT_UNROLL
      for (int j = 0; j < 4; ++j) {
        const auto vector = load_vector<Vector16>(place(depth, number * 4 + j));
        PYQRT_UNROLL
        for (int e = 0; e < 4; ++e) sum.value[j][e] += static_cast<int32_t>(vector.word[e]);
      }
    }
  });
}

template <class Kind, class Tile>
PYQRT_DEVICE void store_sums(const LinearArgs& args, int64_t rows, Sums<Tile>& sums,
                             int64_t first_row, int64_t first_channel, Lane lane) {
  PYQRT_UNROLL
  for (int c = 0; c < Tile::kWarpColumns; ++c) {
    const int64_t channel = first_channel + c * kChannels + 8 * lane.member;
    if (channel >= args.n) continue;
    const int count = args.n - channel < 8 ? static_cast<int>(args.n - channel) : 8;
    const ChannelEpilogue<Kind, 8> epilogue(args, channel, count);
    PYQRT_UNROLL
    for (int half_row = 0; half_row < 2 * Tile::kWarpRows; ++half_row) {
      const int r = half_row / 2;
      const int half = half_row % 2;
      const int64_t row = first_row + half_row * 8 + lane.group;
      if (row >= rows) continue;
      int32_t residual[8];
      epilogue.load_residual(residual, row);
      epilogue.store(
          row,
          [&](int i) {
            // Channel i of the eight: mma i % 4, element i / 4 of its row (channel_of).
            const int e = 2 * half + i / 4;
            int32_t sum = sums.narrow[r][c].value[i % 4][e];
            if constexpr (Tile::kWide) {
              sum = static_cast<int32_t>(fixed::rshr64(
                  int64_t{sum} * 256 + sums.low[r][c].value[i % 4][e], args.pre_shift));
            }
            return sum;
          },
          residual);
    }
  }
}

template <class Tile>
PYQRT_GLOBAL void PYQRT_BOUNDS(Tile::kThreads, 1) linear_kernel(Arguments arguments) {
  const LinearArgs& args = arguments.linear;
  const int64_t block_row = int64_t{block_y()} * Tile::kRows;
  const int64_t block_column = int64_t{block_x()} * Tile::kColumns;

  const int warp = thread_index() / kWarp;
  const int warp_mn = warp % Tile::kWarpsMN;
  const int warp_depth = warp / Tile::kWarpsMN;
  const int warp_row = warp_mn % Tile::kWarpsRows;
  const int warp_column = warp_mn / Tile::kWarpsRows;
  const Lane lane = lane_of(thread_index());

  const int slices = static_cast<int>(ceil_div(args.k, Tile::kSlice));
  const auto stage = [](int number) {
    return shared_memory() + number % Tile::kStages * Tile::kStageBytes;
  };
  const auto weight_place = [&](int number) {
    return [to = stage(number) + Tile::kInputBytes](int block, int vector) {
      return to + 16 * vector_index<Tile::kGroups>(block, vector / 4, vector % 4);
    };
  };
  const auto input_place = [&](int number) {
    return
        [to = stage(number)](int row, int vector) { return to + row * Tile::kPitch + 16 * vector; };
  };
  // Weights do not depend on the kernel before this one, whose results the input is.
  const int64_t block_bytes = ceil_div(args.k, kLinearGroup) * kLinearGroup * kLinearBlock;
  const int64_t first_block = block_column / kLinearBlock;
  WeightCopies<Tile> weights(args.weight + first_block * block_bytes, block_bytes,
                             ceil_div(args.n, kLinearBlock) - first_block, block_bytes);
  PYQRT_NO_UNROLL
  for (int s = 0; s < Tile::kStages - 1 && s < slices; ++s) {
    weights.begin(s, weight_place(s));
    weights.finish(weight_place(s));
  }
  wait_for_kernel_before();
  const int64_t rows = arguments.live_rows == nullptr ? args.m : *arguments.live_rows;
  if (block_row >= rows) {
    commit_copies();
    copies_arrived<0>();
    return;
  }
  constexpr int64_t kSize = sizeof(typename Tile::Input);
  InputCopies<Tile> input(
      static_cast<const typename Tile::Input*>(args.input) + block_row * args.input_stride,
      args.input_stride * kSize, rows - block_row, args.k * kSize);
  PYQRT_NO_UNROLL
  for (int s = 0; s < Tile::kStages - 1; ++s) {
    if (s < slices) {
      input.begin(s, input_place(s));
      input.finish(input_place(s));
    }
    commit_copies();
  }

  Sums<Tile> sums = {};
  for (int s = 0; s < slices; ++s) {
    copies_arrived<Tile::kStages - 2>();
    sync_block();  // slice s is there, and nobody reads slice s - 1 any more
    const int next = s + Tile::kStages - 1;
    if (next < slices) {
      input.begin(next, input_place(next));
      weights.begin(next, weight_place(next));
    }
    commit_copies();
    multiply_slice<Tile>(sums, shared_memory() + s % Tile::kStages * Tile::kStageBytes, warp_row,
                         warp_column, warp_depth, lane);
    if (next < slices) {
      input.finish(input_place(next));
      weights.finish(weight_place(next));
    }
  }
  if constexpr (Tile::kWarpsK > 1) {
    gather_depth<Tile>(sums, warp_mn, warp_depth);
    if (warp_depth > 0) return;
  }

  with_epilogue_kind(args, [&](auto kind) {
    store_sums<decltype(kind), Tile>(args, rows, sums, block_row + warp_row * Tile::kWarpRows * 16,
                                     block_column + warp_column * Tile::kWarpColumns * kChannels,
                                     lane);
  });
}

template <class Tile>
int64_t blocks(const LinearArgs& args) {
  return ceil_div(args.m, Tile::kRows) * ceil_div(args.n, Tile::kColumns);
}

template <class Tile>
void launch_tile(const LinearArgs& args, const int32_t* live_rows, Stream& stream) {
  launch<Arguments>(linear_kernel<Tile>,
                    {ceil_div(args.n, Tile::kColumns), ceil_div(args.m, Tile::kRows)},
                    Tile::kThreads, Tile::kSharedBytes, stream, {args, live_rows});
}

// Large tiles read each input and weight less often; small ones occupy more of the machine.
using Large = Tile<int8_t, 4, 2, 2, 2, 1, 3>;   // 128 x 128
using Medium = Tile<int8_t, 2, 1, 2, 2, 1, 4>;  // 64 x 64
template <int kStages>
using Small = Tile<int8_t, 1, 1, 2, 1, 4, kStages>;  // 32 x 32, four warps in depth
using WideMedium = Tile<int16_t, 2, 1, 2, 2, 1, 3>;
using WideSmall = Tile<int16_t, 1, 1, 2, 1, 4, 2>;

// With few blocks what counts is how many bytes are on their way: all that fit, but no block waits
// for another to leave.
void launch_small(const LinearArgs& args, const int32_t* live_rows, Stream& stream) {
  const Device& device = stream.device();
  const int64_t at_once = ceil_div(blocks<Small<4>>(args), device.multiprocessors);
  const auto fits = [&](int64_t shared) { return at_once * shared <= device.shared_bytes; };
  if (args.k > 3 * Small<4>::kSlice && fits(Small<12>::kSharedBytes)) {
    launch_tile<Small<12>>(args, live_rows, stream);
  } else if (args.k > Small<4>::kSlice && Small<4>::kSharedBytes <= device.shared_bytes) {
    launch_tile<Small<4>>(args, live_rows, stream);
  } else {
    launch_tile<Small<2>>(args, live_rows, stream);
  }
}

// Up to so many rows a product waits for its weights. Small tiles have most of them on their way
// before the kernel before has ended.
constexpr int64_t kFewRows = 128;

// What a product takes, by the blocks of the busiest multiprocessor, in hundredths of microseconds
// for 768 inputs, as measured on an H200: the first block, and one beside it.
enum class Machines : uint8_t { kAll, kWithWarpgroups, kWithout };
struct TileCost {
  TileSize size;
  int64_t rows;
  int64_t columns;
  int64_t at_once;  // blocks on one multiprocessor
  int64_t first;
  int64_t beside;
  Machines machines;
};
constexpr TileCost kTileCosts[] = {
    {TileSize::kSmall, 32, 32, 16, 170, 160, Machines::kAll},
    {TileSize::kMedium, 64, 64, 16, 380, 200, Machines::kWithout},
    {TileSize::kLarge, 128, 128, 16, 890, 700, Machines::kWithout},
    {TileSize::kWarpgroup64, 64, 128, 2, 500, 260, Machines::kWithWarpgroups},
    {TileSize::kWarpgroup96, 96, 128, 2, 570, 310, Machines::kWithWarpgroups},
    {TileSize::kWarpgroup192, 192, 128, 1, 960, 0, Machines::kWithWarpgroups},
    {TileSize::kWarpgroup256, 256, 128, 1, 1140, 0, Machines::kWithWarpgroups},
};

TileSize choose(const LinearArgs& args, const Stream& stream) {
  const Device& device = stream.device();
  if (args.input_type == DataType::kS16) {
    return blocks<WideMedium>(args) >= device.multiprocessors ? TileSize::kMedium
                                                              : TileSize::kSmall;
  }
  if (args.m <= kFewRows) return TileSize::kSmall;
  const Machines others = device.warpgroups ? Machines::kWithout : Machines::kWithWarpgroups;
  TileSize best = TileSize::kSmall;
  int64_t least = INT64_MAX;
  for (const TileCost& tile : kTileCosts) {
    if (tile.machines == others) continue;
    const int64_t all = ceil_div(args.m, tile.rows) * ceil_div(args.n, tile.columns);
    const int64_t busiest = ceil_div(all, device.multiprocessors);
    const int64_t rounds = ceil_div(busiest, tile.at_once);
    const int64_t cost = rounds * tile.first + (busiest - rounds) * tile.beside;
    if (cost < least) {
      least = cost;
      best = tile.size;
    }
  }
  return best;
}

}  // namespace

void launch_linear(const LinearArgs& args, const int32_t* live_rows, Stream& stream,
                   TileSize size) {
  if (size == TileSize::kAny) size = choose(args, stream);
  const bool wide = args.input_type == DataType::kS16;
  if (size >= TileSize::kWarpgroup64) {
    launch_linear_warpgroup(args, live_rows, stream, size);
  } else if (size == TileSize::kSmall) {
    wide ? launch_tile<WideSmall>(args, live_rows, stream) : launch_small(args, live_rows, stream);
  } else if (wide) {
    launch_tile<WideMedium>(args, live_rows, stream);
  } else if (size == TileSize::kMedium) {
    launch_tile<Medium>(args, live_rows, stream);
  } else {
    launch_tile<Large>(args, live_rows, stream);
  }
}

}  // namespace pyqrt::cuda
