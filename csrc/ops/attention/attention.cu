// attention on a GPU. A block takes kQueries queries of one head of one sequence. A warp owns 16 of
// them and kWarpKeys keys at a time; kWarpsK warps share the keys, so that rows of up to
// kWarpsK * kWarpKeys scores stay in registers. Longer rows pass by in chunks, twice: once for
// their maximum, once more for the probabilities. Heads wider than kColumns go by in blocks of
// columns.
//
// Keys lie in shared memory in an order that makes the probabilities which a lane computes, from
// accumulators of the first product, its own operand words of the second (key_row).
#include <algorithm>

#include "cuda/eight.h"
#include "cuda/kernels.h"
#include "cuda/launch.h"
#include "cuda/operand_b.h"
#include "ops/attention/attention_row.h"
#include "ops/softmax/softmax.h"

namespace pyqrt::cuda {
namespace {

constexpr int kWarpKeys = 128;
constexpr int kGroupKeys = 16;  // keys of two mma of the first product: one A word of the second
constexpr int kWarpGroups = kWarpKeys / kGroupKeys;

template <int kColumns_, int kWarpsQ_, int kWarpsK_, bool kRelative_ = false>
struct Tile {
  static constexpr bool kRelative = kRelative_;  // one score at a time: exact, not fast
  static constexpr int kColumns = kColumns_;
  static constexpr int kWarpsQ = kWarpsQ_;
  static constexpr int kWarpsK = kWarpsK_;
  static constexpr int kThreads = kWarpsQ * kWarpsK * kWarp;
  static constexpr int kQueries = 16 * kWarpsQ;
  static constexpr int kKeys = kWarpKeys * kWarpsK;
  static constexpr int kPitch = kColumns + 16;  // rows of a fragment then use different banks
  static constexpr int kSteps = kColumns / kDepth;
  static constexpr int kTiles = kColumns / kChannels;
  static constexpr int kQueryBytes = kQueries * kPitch;
  static constexpr int kKeyBytes = kKeys * kPitch;  // values, later in the same place, need less
  static constexpr int kSumBytes = kWarpsK == 1 ? 0 : kWarpsQ * kTiles * 2 * 16 * kWarp * 4;
  static constexpr int kStageBytes = kKeyBytes > kSumBytes ? kKeyBytes : kSumBytes;
  static constexpr int kSharedBytes = kQueryBytes + kStageBytes + kQueries * 8;
};

// The same for all threads of a block.
template <class Tile>
struct Work {
  const AttentionArgs* args;
  int64_t first;   // row of the sequence's first token
  int n;           // its tokens
  int query;       // of these, the block's first
  int64_t column;  // the head's first
  uint32_t multiplier;
  uint32_t limit;

  PYQRT_MEMBER uint8_t* queries() const { return shared_memory(); }
  PYQRT_MEMBER uint8_t* stage() const { return shared_memory() + Tile::kQueryBytes; }
  PYQRT_MEMBER int32_t* row_max() const {
    return reinterpret_cast<int32_t*>(stage() + Tile::kStageBytes);
  }
  PYQRT_MEMBER int32_t* row_sum() const { return row_max() + Tile::kQueries; }
};

// A lane's scores: [2 * group of keys + j][element e of C] is the row (e / 2) * 8 + lane.group and
// the key 16 group + 4 member + 2 j + e % 2.
struct Scores {
  int32_t value[2 * kWarpGroups][4];
};
PYQRT_DEVICE int key_of(int tile, int e, int member) {
  return kGroupKeys * (tile / 2) + 4 * member + 2 * (tile % 2) + e % 2;
}
// The row of shared memory for a key, so that mma j = 0, 1 of a group reads rows 8 j to 8 j + 7.
PYQRT_DEVICE int key_row(int key) {
  return (key & ~15) + 8 * (key / 2 % 2) + 2 * (key / 4 % 4) + key % 2;
}

// Their probabilities: word [group of keys][row half] is four neighbouring keys, 4 member ...
struct Planes {
  uint32_t high[kWarpGroups][2];
  uint32_t low[kWarpGroups][2];
};

template <class Tile>
PYQRT_DEVICE int bytes_there(const Work<Tile>& work, int64_t column) {
  const int64_t there = work.args->head_dim - column;
  return there < 0 ? 0 : there > 16 ? 16 : static_cast<int>(there);
}

// Rows that the products of a chunk read: whole steps of the second.
PYQRT_DEVICE int rows_read(int live) {
  return (live + kDepth - 1) / kDepth * kDepth;
}

// Copies columns [column, column + kColumns) of `rows` rows; those from `live` on become zeros.
template <class Tile, bool kAreKeys>
PYQRT_DEVICE void copy_rows(const Work<Tile>& work, uint8_t* to, const int8_t* from, int64_t stride,
                            int rows, int live, int64_t column) {
  constexpr int kRowCopies = Tile::kColumns / 16;
  for (int i = thread_index(); i < rows * kRowCopies; i += Tile::kThreads) {
    const int row = i / kRowCopies;
    const int chunk = i % kRowCopies;
    const int bytes = row < live ? bytes_there(work, column + 16 * chunk) : 0;
    Copy16 copy;
    copy.begin(to + (kAreKeys ? key_row(row) : row) * Tile::kPitch + 16 * chunk,
               from + row * stride + column + 16 * chunk, bytes);
    copy.finish();
  }
}

// Copies a chunk of values as an operand B, [columns / 16][keys / 4][16][4].
template <class Tile>
PYQRT_DEVICE void copy_values(const Work<Tile>& work, const int8_t* from, int64_t stride, int live,
                              int64_t column) {
  constexpr int kBlocks = Tile::kColumns / 16;
  for (int i = thread_index(); i < rows_read(live) / 4 * kBlocks; i += Tile::kThreads) {
    const int block = i % kBlocks;
    const int group = i / kBlocks;
    const int bytes = bytes_there(work, column + 16 * block);
    Vector16 row[4];
    PYQRT_UNROLL
    for (int k = 0; k < 4; ++k) {
      const int key = 4 * group + k;
      row[k] = load_partial(from + key * stride + column + 16 * block, key < live ? bytes : 0);
    }
    PYQRT_UNROLL
    for (int quarter = 0; quarter < 4; ++quarter) {
      const uint32_t first = permute_bytes(row[0].word[quarter], row[1].word[quarter], 0x5140);
      const uint32_t second = permute_bytes(row[2].word[quarter], row[3].word[quarter], 0x5140);
      const uint32_t third = permute_bytes(row[0].word[quarter], row[1].word[quarter], 0x7362);
      const uint32_t fourth = permute_bytes(row[2].word[quarter], row[3].word[quarter], 0x7362);
      const Vector16 columns = {
          permute_bytes(first, second, 0x5410), permute_bytes(first, second, 0x7632),
          permute_bytes(third, fourth, 0x5410), permute_bytes(third, fourth, 0x7632)};
      store_vector(
          work.stage() + 16 * vector_index<Tile::kKeys / kLinearGroup>(block, group, quarter),
          columns);
    }
  }
}

// The scores of the warp's queries and its keys of the chunk that begins at `first_key`.
template <class Tile>
PYQRT_DEVICE void score(const Work<Tile>& work, Scores& scores, int first_key, int warp_query,
                        int warp_key) {
  const AttentionArgs& args = *work.args;
  const int live = work.n - first_key < Tile::kKeys ? work.n - first_key : Tile::kKeys;
  const int lane = thread_index() % kWarp;
  scores = {};
  for (int64_t column = 0; column < args.head_dim; column += Tile::kColumns) {
    sync_block();  // what was staged has been read
    copy_rows<Tile, false>(work, work.queries(),
                           args.query + (work.first + work.query) * args.query_stride + work.column,
                           args.query_stride, Tile::kQueries, work.n - work.query, column);
    copy_rows<Tile, true>(work, work.stage(),
                          args.key + (work.first + first_key) * args.key_stride + work.column,
                          args.key_stride, rows_read(live), live, column);
    commit_copies();
    copies_arrived<0>();
    sync_block();
    PYQRT_UNROLL
    for (int step = 0; step < Tile::kSteps; ++step) {
      uint32_t a[4];
      load_matrices(a, work.queries() + (warp_query * 16 + lane % 16) * Tile::kPitch +
                           step * kDepth + lane / 16 * 16);
      PYQRT_UNROLL
      for (int group = 0; group < kWarpGroups; ++group) {
        const int key = warp_key * kWarpKeys + group * kGroupKeys;
        if (key >= live) break;
        uint32_t b[4];
        load_matrices(b, work.stage() + (key + lane / 16 * 8 + lane % 8) * Tile::kPitch +
                             step * kDepth + lane / 8 % 2 * 16);
        mma<true>(scores.value[2 * group], a, b[0], b[1]);
        mma<true>(scores.value[2 * group + 1], a, b[2], b[3]);
      }
    }
  }
}

// What a lane's two rows of a tile see of the sequence's keys.
struct Seen {
  int begin[2];
  int end[2];
};
PYQRT_DEVICE Seen keys_seen(int64_t window, int query, int n) {
  Seen seen = {};
  PYQRT_UNROLL
  for (int half = 0; half < 2; ++half) {
    const Range keys = attention_seen(window, query + 8 * half, n);
    seen.begin[half] = static_cast<int>(keys.begin);
    seen.end[half] = static_cast<int>(keys.end);
  }
  return seen;
}

// Calls body(tile, e, key) for every score of the lane whose key its query sees. `first` is the
// lane's first key.
template <class Body>
PYQRT_DEVICE void for_each_seen(const Seen& seen, int first, const Body& body) {
  PYQRT_UNROLL
  for (int tile = 0; tile < 2 * kWarpGroups; ++tile) {
    PYQRT_UNROLL
    for (int e = 0; e < 4; ++e) {
      const int key = first + key_of(tile, e, 0);
      if (key >= seen.begin[e / 2] && key < seen.end[e / 2]) body(tile, e, key);
    }
  }
}

// Not inline: there is one call for every score of a lane.
PYQRT_NOINLINE int32_t relative_term(const AttentionArgs& args, int64_t head, int64_t query,
                                     int64_t key) {
  const int64_t column = head * args.head_dim;
  return attention_relative(args, head, args.query + query * args.query_stride + column,
                            args.key + key * args.key_stride + column, query - key);
}

// The probabilities of scores below their rows' maxima, added to the rows' sums.
template <class Tile>
PYQRT_DEVICE Planes to_planes(const Work<Tile>& work, const Scores& scores,
                              const int32_t (&maximum)[2], const Seen& seen, int first,
                              int32_t (&sum)[2]) {
  Planes planes = {};
  for_each_seen(seen, first, [&](int tile, int e, int) {
    const auto below = static_cast<uint32_t>(maximum[e / 2] - scores.value[tile][e]);
    const int32_t p = softmax_term(below, work.limit, work.multiplier, work.args->exponential);
    sum[e / 2] += p;
    const int byte = 2 * (tile % 2) + e % 2;
    planes.high[tile / 2][e / 2] |= static_cast<uint32_t>(p >> 7) << (8 * byte);
    planes.low[tile / 2][e / 2] |= static_cast<uint32_t>(p & 127) << (8 * byte);
  });
  return planes;
}

// Probabilities times values, high and low planes apart.
template <class Tile>
struct Mixed {
  Accumulator high[Tile::kTiles];
  Accumulator low[Tile::kTiles];
};

template <class Tile>
PYQRT_DEVICE void mix(const Work<Tile>& work, Mixed<Tile>& mixed, const Planes& planes, int live,
                      int warp_key, Lane lane) {
  PYQRT_UNROLL
  for (int step = 0; step < kWarpKeys / kDepth; ++step) {
    if (warp_key * kWarpKeys + step * kDepth >= live) break;
    const uint32_t high[4] = {planes.high[2 * step][0], planes.high[2 * step][1],
                              planes.high[2 * step + 1][0], planes.high[2 * step + 1][1]};
    const uint32_t low[4] = {planes.low[2 * step][0], planes.low[2 * step][1],
                             planes.low[2 * step + 1][0], planes.low[2 * step + 1][1]};
    PYQRT_UNROLL
    for (int tile = 0; tile < Tile::kTiles; ++tile) {
      const OperandB b = load_b<Tile::kKeys / kLinearGroup>(
          work.stage(), tile, warp_key * (kWarpKeys / kDepth) + step, lane);
      multiply<true>(mixed.high[tile], high, b);
      multiply<true>(mixed.low[tile], low, b);
    }
  }
}

// Adds what the warps that share a query have, for the first of them. Lane by lane.
template <class Tile>
PYQRT_DEVICE void gather_keys(const Work<Tile>& work, Mixed<Tile>& mixed, int warp_query,
                              int warp_key) {
  auto* sums = reinterpret_cast<int32_t*>(work.stage());
  const int lane = thread_index() % kWarp;
  const auto for_each = [&](const auto& body) {
    PYQRT_UNROLL
    for (int i = 0; i < Tile::kTiles * 32; ++i) {
      Accumulator& part = i % 32 < 16 ? mixed.high[i / 32] : mixed.low[i / 32];
      body(sums + ((warp_query * Tile::kTiles * 32) + i) * kWarp + lane,
           part.value[i / 4 % 4][i % 4]);
    }
  };
  sync_block();  // values have been read
  if (warp_key == 1) for_each([](int32_t* to, int32_t value) { *to = value; });
  sync_block();
  if (warp_key > 1) for_each([](int32_t* to, int32_t value) { atomic_add_shared(to, value); });
  sync_block();
  if (warp_key == 0) for_each([](const int32_t* from, int32_t& value) { value += *from; });
}

template <class Tile>
PYQRT_DEVICE void store(const Work<Tile>& work, const Mixed<Tile>& mixed,
                        const RowScale (&scale)[2], int64_t column, int warp_query, Lane lane) {
  const AttentionArgs& args = *work.args;
  PYQRT_UNROLL
  for (int half = 0; half < 2; ++half) {
    const int query = work.query + warp_query * 16 + half * 8 + lane.group;
    if (query >= work.n) continue;
    int8_t* row = args.output + (work.first + query) * args.output_stride + work.column;
    PYQRT_UNROLL
    for (int tile = 0; tile < Tile::kTiles; ++tile) {
      const int64_t to = column + tile * kChannels + 8 * lane.member;
      const int64_t there = args.head_dim - to;
      if (there <= 0) continue;
      int32_t out[8];
      PYQRT_UNROLL
      for (int i = 0; i < 8; ++i) {
        const int e = 2 * half + i / 4;  // as channel_of says
        const int64_t sum =
            int64_t{mixed.high[tile].value[i % 4][e]} * 128 + mixed.low[tile].value[i % 4][e];
        out[i] = attention_output(sum, scale[half], args.zero_point);
      }
      store_eight(row + to, out, there < 8 ? static_cast<int>(there) : 8);
    }
  }
}

template <class Tile>
PYQRT_GLOBAL void PYQRT_BOUNDS(Tile::kThreads, 1) attention_kernel(AttentionArgs args) {
  const int64_t head = block_y();
  const int32_t* sequence = args.offsets + block_z();
  Work<Tile> work;
  work.args = &args;
  work.first = sequence[0];
  work.n = sequence[1] - sequence[0];
  work.query = block_x() * Tile::kQueries;
  work.column = head * args.head_dim;
  if (work.query >= work.n) return;
  work.multiplier = args.score_multiplier[head];
  work.limit = softmax_limit(work.multiplier);

  const int warp = thread_index() / kWarp;
  const int warp_query = warp % Tile::kWarpsQ;
  const int warp_key = warp / Tile::kWarpsQ;
  const Lane lane = lane_of(thread_index());
  const bool resident = work.n <= Tile::kKeys;
  for (int i = thread_index(); i < Tile::kQueries; i += Tile::kThreads) {
    work.row_max()[i] = INT32_MIN;
    work.row_sum()[i] = 0;
  }

  Scores scores;
  const int query = work.query + warp_query * 16 + lane.group;
  const Seen seen = keys_seen(args.window, query, work.n);
  const int lane_key = warp_key * kWarpKeys + 4 * lane.member;  // of a chunk
  const auto compute_scores = [&](int chunk) {
    score(work, scores, chunk, warp_query, warp_key);
    if constexpr (Tile::kRelative) {
      for_each_seen(seen, chunk + lane_key, [&](int tile, int e, int key) {
        const int own = query + e / 2 * 8;
        if (own >= work.n) return;
        scores.value[tile][e] += relative_term(args, head, work.first + own, work.first + key);
      });
    }
  };
  int32_t maximum[2] = {INT32_MIN, INT32_MIN};
  for (int key = 0; key < work.n; key += Tile::kKeys) {
    compute_scores(key);
    for_each_seen(seen, key + lane_key, [&](int tile, int e, int) {
      const int32_t value = scores.value[tile][e];
      if (value > maximum[e / 2]) maximum[e / 2] = value;
    });
  }
  PYQRT_UNROLL
  for (int half = 0; half < 2; ++half) {
    maximum[half] = reduce_max<4>(maximum[half]);
    if constexpr (Tile::kWarpsK > 1) {
      int32_t* of_row = work.row_max() + warp_query * 16 + half * 8 + lane.group;
      if (lane.member == 0) atomic_max_shared(of_row, maximum[half]);
      sync_block();
      maximum[half] = *of_row;
    }
  }

  int32_t sum[2] = {};
  RowScale scale[2];
  Planes planes = {};
  for (int64_t column = 0; column < args.head_dim; column += Tile::kColumns) {
    Mixed<Tile> mixed = {};
    for (int key = 0; key < work.n; key += Tile::kKeys) {
      if (!resident) compute_scores(key);
      if (!resident || column == 0) {
        int32_t part[2] = {};
        planes = to_planes(work, scores, maximum, seen, key + lane_key, part);
        if (column == 0) {
          sum[0] += part[0];
          sum[1] += part[1];
        }
      }
      const int live = work.n - key < Tile::kKeys ? work.n - key : Tile::kKeys;
      sync_block();  // what was staged has been read
      copy_values(work, args.value + (work.first + key) * args.value_stride + work.column,
                  args.value_stride, live, column);
      sync_block();
      mix(work, mixed, planes, live, warp_key, lane);
    }
    if (column == 0) {
      PYQRT_UNROLL
      for (int half = 0; half < 2; ++half) {
        sum[half] = reduce_sum<4>(sum[half]);
        if constexpr (Tile::kWarpsK > 1) {
          int32_t* of_row = work.row_sum() + warp_query * 16 + half * 8 + lane.group;
          if (lane.member == 0) atomic_add_shared(of_row, sum[half]);
          sync_block();
          sum[half] = *of_row;
        }
        // Rows beyond the sequence may see no key under a window; they are not stored.
        if (sum[half] == 0) sum[half] = 1;
        scale[half] =
            row_scale(sum[half], args.output_multiplier[head], args.output_exponent[head]);
      }
    }
    if constexpr (Tile::kWarpsK > 1) gather_keys(work, mixed, warp_query, warp_key);
    if (warp_key == 0) store(work, mixed, scale, column, warp_query, lane);
  }
}

template <class Tile>
void launch_tile(AttentionArgs args, int64_t sequences, int64_t max_length, Stream& stream) {
  constexpr int64_t kMaxSequences = 65535;  // of a grid's third extent
  for (; sequences > 0; sequences -= kMaxSequences, args.offsets += kMaxSequences) {
    launch<AttentionArgs>(
        attention_kernel<Tile>,
        {ceil_div(max_length, Tile::kQueries), args.heads, std::min(sequences, kMaxSequences)},
        Tile::kThreads, Tile::kSharedBytes, stream, args);
  }
}

template <int kColumns>
void launch_columns(const AttentionArgs& args, int64_t sequences, int64_t max_length,
                    Stream& stream) {
  if (args.relative_index != nullptr) {
    launch_tile<Tile<kColumns, 2, 4, true>>(args, sequences, max_length, stream);
  } else if (max_length <= kWarpKeys) {
    launch_tile<Tile<kColumns, 4, 1>>(args, sequences, max_length, stream);
  } else if (max_length <= 2 * kWarpKeys) {
    launch_tile<Tile<kColumns, 4, 2>>(args, sequences, max_length, stream);
  } else {
    launch_tile<Tile<kColumns, 2, 4>>(args, sequences, max_length, stream);
  }
}

}  // namespace

void launch_attention(const AttentionArgs& args, int64_t sequences, int64_t max_length,
                      Stream& stream) {
  if (args.head_dim <= 32) {
    launch_columns<32>(args, sequences, max_length, stream);
  } else {
    launch_columns<64>(args, sequences, max_length, stream);
  }
}

}  // namespace pyqrt::cuda
