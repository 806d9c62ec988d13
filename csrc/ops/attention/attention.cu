// attention on a GPU. A block takes kQueries queries of one head of one sequence, 16 for each warp.
// kKeys keys and values at a time lie in shared memory; a warp passes by them twice, 32 at a time:
// for the maxima of its rows, then, computing scores again, for probabilities and their products
// with values. Rows of up to kKeys keys are copied once. Heads wider than kColumns go by in blocks
// of columns, 32 keys at a time.
//
// Keys lie in an order that makes the probabilities which a lane computes, from accumulators of the
// first product, its own operand words of the second (key_row). Values become an operand B in
// place: four keys by 16 columns, read and written by one thread.
//
// Steps are short because a GPU fetches straight-line code more slowly than it runs it.
#include <algorithm>

#include "cuda/kernels.h"
#include "cuda/launch.h"
#include "cuda/neighbours.h"
#include "cuda/operand_b.h"
#include "ops/attention/attention_row.h"
#include "ops/softmax/softmax.h"

namespace pyqrt::cuda {
namespace {

constexpr int kWarps = 4;
constexpr int kThreads = kWarps * kWarp;
constexpr int kQueries = 16 * kWarps;
constexpr int kChunk = 32;      // keys of a warp's step: one of the second product
constexpr int kGroupKeys = 16;  // keys of two mma of the first product: one A word of the second
constexpr int kGroups = kChunk / kGroupKeys;

// kNarrow: heads are no wider than kColumns.
template <int kColumns_, int kKeys_, bool kNarrow_ = true, bool kGeneral_ = false>
struct Tile {
  static constexpr bool kNarrow = kNarrow_;
  // Has relative positions and biases, one score at a time, exact, not fast; and what is apart of
  // global tokens and of blocks.
  static constexpr bool kGeneral = kGeneral_;
  static constexpr int kColumns = kColumns_;
  static constexpr int kKeys = kKeys_;
  static constexpr int kVectors = kColumns / 16;  // of a row
  static constexpr int kSteps = kColumns / kDepth;
  static constexpr int kTiles = kColumns / kChannels;
  static constexpr int kQueryBytes = kQueries * kColumns;
  static constexpr int kKeyBytes = kKeys * kColumns;
  static_assert(kNarrow || kKeys == kChunk);
  static constexpr int kSharedBytes = kQueryBytes + 2 * kKeyBytes;
};

// The same for all threads of a block.
template <class Tile>
struct Work {
  const AttentionArgs* args;
  int64_t start;   // row of the sequence's first token
  int n;           // its tokens
  int rows;        // where those with a query end
  int query;       // the block's first of these
  int64_t row;     // of the queries, its row
  int begin, end;  // the keys that some query of the block sees, from a multiple of kChunk on
  int first;       // of these the first ones, apart from
  int near, far;   // the near ones, [near, far), apart from
  int last;        // the last ones; near and last being multiples of kChunk, or last `end`
  int64_t column;  // the head's first
  uint32_t multiplier;
  uint32_t limit;

  PYQRT_MEMBER uint8_t* queries() const { return shared_memory(); }
  PYQRT_MEMBER uint8_t* keys() const { return queries() + Tile::kQueryBytes; }
  PYQRT_MEMBER uint8_t* values() const { return keys() + Tile::kKeyBytes; }
};

// Where 16 bytes of a row lie. Eight neighbouring rows, which a product reads together, use all
// banks once; so do, of values, the vectors of four neighbouring groups of keys.
template <class Tile>
PYQRT_DEVICE int row_offset(int row, int vector) {
  constexpr int kRowsOfLine = 128 / Tile::kColumns;
  return row * Tile::kColumns + 16 * (vector ^ (row / kRowsOfLine % Tile::kVectors));
}
template <class Tile>
PYQRT_DEVICE int value_offset(int row, int vector) {
  return row * Tile::kColumns + 16 * (vector ^ (row / 4 % Tile::kVectors));
}

// A lane's scores: [2 * group of keys + j][element e of C] is the row (e / 2) * 8 + lane.group and
// the key 16 group + 4 member + 2 j + e % 2.
struct Scores {
  int32_t value[2 * kGroups][4];
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
  uint32_t high[kGroups][2];
  uint32_t low[kGroups][2];
};

template <class Tile>
PYQRT_DEVICE int bytes_there(const Work<Tile>& work, int64_t column) {
  const int64_t there = work.args->head_dim - column;
  return there < 0 ? 0 : there > 16 ? 16 : static_cast<int>(there);
}

// Copies columns [column, column + kColumns) of `rows` rows, those from `live` on as zeros;
// place(row, vector) says where to. Visible after copies_arrived() and a barrier.
template <class Tile, class Place>
PYQRT_DEVICE void copy_rows(const Work<Tile>& work, const int8_t* from, int64_t stride, int rows,
                            int live, int64_t column, const Place& place) {
  const bool aligned = reinterpret_cast<uintptr_t>(from) % 16 == 0 && stride % 16 == 0;
  for (int i = thread_index(); i < rows * Tile::kVectors; i += kThreads) {
    const int row = i / Tile::kVectors;
    const int vector = i % Tile::kVectors;
    const int bytes = row < live ? bytes_there(work, column + 16 * vector) : 0;
    const int8_t* source = from + row * stride + column + 16 * vector;
    if (has_async_copy() && aligned) {
      copy_async(place(row, vector), source, bytes);
    } else {
      store_vector(place(row, vector), load_partial(source, bytes));
    }
  }
}

template <class Tile>
PYQRT_DEVICE void copy_queries(const Work<Tile>& work, int64_t column) {
  const AttentionArgs& args = *work.args;
  copy_rows(work, args.query + work.row * args.query_stride + work.column, args.query_stride,
            kQueries, work.rows - work.query, column,
            [&](int row, int vector) { return work.queries() + row_offset<Tile>(row, vector); });
}

// How many of kKeys keys from `first` on there are, and how many rows of them steps read.
template <class Tile>
PYQRT_DEVICE int live_keys(const Work<Tile>& work, int first) {
  return work.end - first < Tile::kKeys ? work.end - first : Tile::kKeys;
}
PYQRT_DEVICE int rows_read(int live) {
  return (live + kChunk - 1) / kChunk * kChunk;
}

// Whether nothing of a chunk of keys is seen, and the block of keys after one: what lies between
// the first, near and last keys is left out.
template <class Tile>
PYQRT_DEVICE bool unseen(const Work<Tile>& work, int chunk) {
  if (!Tile::kGeneral) return false;
  return (chunk >= work.first && chunk < work.near) || (chunk >= work.far && chunk < work.last);
}
template <class Tile>
PYQRT_DEVICE int next_block(const Work<Tile>& work, int block) {
  const int next = block + Tile::kKeys;
  if (!unseen(work, next)) return next;
  return next < work.near ? work.near : work.last;
}

template <class Tile>
PYQRT_DEVICE void copy_keys(const Work<Tile>& work, int first, int64_t column) {
  const AttentionArgs& args = *work.args;
  const int live = live_keys(work, first);
  copy_rows(work, args.key + (work.start + first) * args.key_stride + work.column, args.key_stride,
            rows_read(live), live, column, [&](int row, int vector) {
              return work.keys() + row_offset<Tile>(key_row(row), vector);
            });
}

template <class Tile>
PYQRT_DEVICE void copy_values(const Work<Tile>& work, int first, int64_t column) {
  const AttentionArgs& args = *work.args;
  const int live = live_keys(work, first);
  copy_rows(work, args.value + (work.start + first) * args.value_stride + work.column,
            args.value_stride, rows_read(live), live, column,
            [&](int row, int vector) { return work.values() + value_offset<Tile>(row, vector); });
}

// Turns values that have been copied into an operand B: vector [columns / 16][keys / 4][quarter] of
// operand_b.h lies where row 4 (keys / 4) + quarter had its columns.
template <class Tile>
PYQRT_DEVICE void transpose_values(const Work<Tile>& work, int first) {
  const int units = rows_read(live_keys(work, first)) / 4 * Tile::kVectors;
  for (int i = thread_index(); i < units; i += kThreads) {
    const int block = i % Tile::kVectors;
    const int group = i / Tile::kVectors;
    Vector16 row[4];
    PYQRT_UNROLL
    for (int k = 0; k < 4; ++k) {
      row[k] = load_vector<Vector16>(work.values() + value_offset<Tile>(4 * group + k, block));
    }
    PYQRT_UNROLL
    for (int quarter = 0; quarter < 4; ++quarter) {
      const uint32_t first_two = permute_bytes(row[0].word[quarter], row[1].word[quarter], 0x5140);
      const uint32_t last_two = permute_bytes(row[2].word[quarter], row[3].word[quarter], 0x5140);
      const uint32_t first_up = permute_bytes(row[0].word[quarter], row[1].word[quarter], 0x7362);
      const uint32_t last_up = permute_bytes(row[2].word[quarter], row[3].word[quarter], 0x7362);
      const Vector16 columns = {
          permute_bytes(first_two, last_two, 0x5410), permute_bytes(first_two, last_two, 0x7632),
          permute_bytes(first_up, last_up, 0x5410), permute_bytes(first_up, last_up, 0x7632)};
      store_vector(work.values() + value_offset<Tile>(4 * group + quarter, block), columns);
    }
  }
}

// What this thread copied is there; with a barrier, what all did.
PYQRT_DEVICE void await_copies() {
  commit_copies();
  copies_arrived<0>();
  sync_block();
}

// Adds the products of the warp's queries and the chunk that begins at row `chunk` of the keys in
// shared memory.
template <class Tile>
PYQRT_DEVICE void add_scores(const Work<Tile>& work, Scores& scores, int chunk, int warp) {
  const int lane = thread_index() % kWarp;
  PYQRT_UNROLL
  for (int step = 0; step < Tile::kSteps; ++step) {
    uint32_t a[4];
    load_matrices(a,
                  work.queries() + row_offset<Tile>(warp * 16 + lane % 16, 2 * step + lane / 16));
    PYQRT_UNROLL
    for (int group = 0; group < kGroups; ++group) {
      const int row = chunk + group * kGroupKeys + lane / 16 * 8 + lane % 8;
      uint32_t b[4];
      load_matrices(b, work.keys() + row_offset<Tile>(row, 2 * step + lane / 8 % 2));
      mma<true>(scores.value[2 * group], a, b[0], b[1]);
      mma<true>(scores.value[2 * group + 1], a, b[2], b[3]);
    }
  }
}

// What a lane's two rows of a tile see of the sequence's keys.
template <class Tile>
struct Seen {
  int begin[2];
  uint32_t count[2];
  int first[2], last[2], biased[2];  // as in AttentionSeen, and
  uint32_t last_count[2];

  PYQRT_MEMBER bool has(int half, int key) const {
    const bool near = static_cast<uint32_t>(key - begin[half]) < count[half];
    if (!Tile::kGeneral) return near;
    return near || key < first[half] || static_cast<uint32_t>(key - last[half]) < last_count[half];
  }
};
// Rows beyond the sequence count as its last one; what they see is not stored.
template <class Tile>
PYQRT_DEVICE Seen<Tile> keys_seen(const AttentionArgs& args, Range globals, int query, int n) {
  Seen<Tile> seen = {};
  PYQRT_UNROLL
  for (int half = 0; half < 2; ++half) {
    const int row = query + 8 * half < n ? query + 8 * half : n - 1;
    const AttentionSeen keys = attention_seen<Tile::kGeneral>(args, globals, row, n);
    seen.begin[half] = static_cast<int>(keys.near.begin);
    seen.count[half] = static_cast<uint32_t>(keys.near.end - keys.near.begin);
    seen.first[half] = static_cast<int>(keys.first);
    seen.last[half] = static_cast<int>(keys.last);
    seen.last_count[half] = static_cast<uint32_t>(n - keys.last);
    seen.biased[half] = static_cast<int>(keys.biased);
  }
  return seen;
}

// Calls body(tile, e, key) for every score of the lane. `first` is the lane's first key.
template <class Body>
PYQRT_DEVICE void for_each_score(int first, const Body& body) {
  PYQRT_UNROLL
  for (int tile = 0; tile < 2 * kGroups; ++tile) {
    PYQRT_UNROLL
    for (int e = 0; e < 4; ++e) body(tile, e, first + key_of(tile, e, 0));
  }
}

// Not inline: there is one call for every score of a lane.
PYQRT_NOINLINE int32_t relative_term(const AttentionArgs& args, int64_t head, int64_t query,
                                     int64_t key, int64_t distance) {
  const int64_t column = head * args.head_dim;
  return attention_relative(args, head, args.query + query * args.query_stride + column,
                            args.key + key * args.key_stride + column, distance);
}

// The scores of a chunk of keys. Its keys are in shared memory, or are brought there where the head
// is wider than that.
template <class Tile>
PYQRT_DEVICE void compute_scores(const Work<Tile>& work, Scores& scores, int block, int chunk,
                                 const Seen<Tile>& seen, int query, int warp, Lane lane) {
  scores = {};
  if constexpr (Tile::kNarrow) {
    add_scores(work, scores, chunk - block, warp);
  } else {
    for (int64_t column = 0; column < work.args->head_dim; column += Tile::kColumns) {
      sync_block();  // what is there has been read
      copy_queries(work, column);
      copy_keys(work, block, column);
      await_copies();
      add_scores(work, scores, chunk - block, warp);
    }
  }
  if (Tile::kGeneral && work.args->relative_index != nullptr) {
    for_each_score(chunk + 4 * lane.member, [&](int tile, int e, int key) {
      const int own = query + e / 2 * 8;
      if (!seen.has(e / 2, key) || own >= work.rows) return;
      scores.value[tile][e] += relative_term(*work.args, block_y(), work.row + own - work.query,
                                             work.start + key, own - key);
    });
  }
  if (Tile::kGeneral && work.args->block_bias != nullptr) {
    const int32_t bias = work.args->block_bias[block_y()];
    for_each_score(chunk + 4 * lane.member, [&](int tile, int e, int key) {
      if (key < seen.biased[e / 2]) scores.value[tile][e] += bias;
    });
  }
}

// The largest of the lane's scores of each row, `largest` included.
template <class Tile>
PYQRT_DEVICE void raise_maximum(int32_t (&largest)[2], const Scores& scores, const Seen<Tile>& seen,
                                int first) {
  for_each_score(first, [&](int tile, int e, int key) {
    const int32_t value = seen.has(e / 2, key) ? scores.value[tile][e] : INT32_MIN;
    largest[e / 2] = value > largest[e / 2] ? value : largest[e / 2];
  });
}

// Four bytes of a plane from four probabilities in pairs of 16 bits, shifted.
PYQRT_DEVICE uint32_t plane_bytes(uint32_t first_two, uint32_t last_two, int shift) {
  constexpr uint32_t kSeven = 0x007f007f;
  return permute_bytes(first_two >> shift & kSeven, last_two >> shift & kSeven, 0x6420);
}

// The probabilities of scores that are seen.
template <class Tile>
PYQRT_DEVICE Planes to_planes(const Work<Tile>& work, const Scores& scores,
                              const int32_t (&largest)[2], const Seen<Tile>& seen, int first) {
  Planes planes;
  PYQRT_UNROLL
  for (int group = 0; group < kGroups; ++group) {
    PYQRT_UNROLL
    for (int half = 0; half < 2; ++half) {
      uint32_t pair[2];
      PYQRT_UNROLL
      for (int j = 0; j < 2; ++j) {
        uint32_t p[2];
        PYQRT_UNROLL
        for (int i = 0; i < 2; ++i) {
          const int tile = 2 * group + j;
          const int e = 2 * half + i;
          const int key = first + key_of(tile, e, 0);
          const uint32_t below =
              static_cast<uint32_t>(largest[half]) - static_cast<uint32_t>(scores.value[tile][e]);
          p[i] = static_cast<uint32_t>(
              softmax_term(below, work.limit, work.multiplier, work.args->exponential));
          if (!seen.has(half, key)) p[i] = 0;
        }
        pair[j] = p[0] | p[1] << 16;
      }
      planes.high[group][half] = plane_bytes(pair[0], pair[1], 7);
      planes.low[group][half] = plane_bytes(pair[0], pair[1], 0);
    }
  }
  return planes;
}

// Probabilities times values, high and low planes apart, and the sums of the planes: of a lane's
// keys only.
template <class Tile>
struct Mixed {
  Accumulator high[Tile::kTiles];
  Accumulator low[Tile::kTiles];
  int32_t high_sum[2];
  int32_t low_sum[2];
};

template <class Tile>
PYQRT_DEVICE void mix(const Work<Tile>& work, Mixed<Tile>& mixed, const Planes& planes, int chunk,
                      Lane lane) {
  PYQRT_UNROLL
  for (int group = 0; group < kGroups; ++group) {
    PYQRT_UNROLL
    for (int half = 0; half < 2; ++half) {
      mixed.high_sum[half] = add_bytes(planes.high[group][half], mixed.high_sum[half]);
      mixed.low_sum[half] = add_bytes(planes.low[group][half], mixed.low_sum[half]);
    }
  }
  PYQRT_UNROLL
  for (int step = 0; step < kChunk / kDepth; ++step) {
    const uint32_t high[4] = {planes.high[2 * step][0], planes.high[2 * step][1],
                              planes.high[2 * step + 1][0], planes.high[2 * step + 1][1]};
    const uint32_t low[4] = {planes.low[2 * step][0], planes.low[2 * step][1],
                             planes.low[2 * step + 1][0], planes.low[2 * step + 1][1]};
    const int row = chunk + step * kDepth + 4 * lane.member + lane.group % 4;
    PYQRT_UNROLL
    for (int tile = 0; tile < Tile::kTiles; ++tile) {
      const int block = 2 * tile + lane.group / 4;
      const OperandB b = {
          load_vector<Vector16>(work.values() + value_offset<Tile>(row, block)),
          load_vector<Vector16>(work.values() + value_offset<Tile>(row + 16, block))};
      multiply<true>(mixed.high[tile], high, b);
      multiply<true>(mixed.low[tile], low, b);
    }
  }
}

template <class Tile>
PYQRT_DEVICE void store(const Work<Tile>& work, const Mixed<Tile>& mixed, int64_t column, int query,
                        Lane lane) {
  const AttentionArgs& args = *work.args;
  const int64_t head = block_y();
  PYQRT_UNROLL
  for (int half = 0; half < 2; ++half) {
    const int own = query + 8 * half;
    const int32_t sum = reduce_sum<4>(mixed.high_sum[half] * 128 + mixed.low_sum[half]);
    if (own >= work.rows) continue;
    const RowScale scale = row_scale(sum, args.output_multiplier[head], args.output_exponent[head]);
    int8_t* row = args.output + (work.start + own) * args.output_stride + work.column;
    PYQRT_UNROLL
    for (int tile = 0; tile < Tile::kTiles; ++tile) {
      const int64_t to = column + tile * kChannels + 8 * lane.member;
      const int64_t there = args.head_dim - to;
      if (there <= 0) continue;
      int32_t out[8];
      PYQRT_UNROLL
      for (int i = 0; i < 8; ++i) {
        const int e = 2 * half + i / 4;  // as channel_of says
        const int64_t product =
            int64_t{mixed.high[tile].value[i % 4][e]} * 128 + mixed.low[tile].value[i % 4][e];
        out[i] = attention_output(product, scale, args.zero_point);
      }
      store_neighbours(row + to, out, there < 8 ? static_cast<int>(there) : 8);
    }
  }
}

template <class Tile>
PYQRT_GLOBAL void PYQRT_BOUNDS(kThreads, 4) attention_kernel(AttentionArgs args) {
  wait_for_kernel_before();
  const int64_t head = block_y();
  const int32_t* sequence = args.offsets + block_z();
  Work<Tile> work;
  work.args = &args;
  work.start = sequence[0];
  work.n = sequence[1] - sequence[0];
  work.rows = work.n;
  work.query = block_x() * kQueries;
  work.row = work.start + work.query;
  if constexpr (Tile::kGeneral) {
    const Range with_query = attention_queries(args, work.start, work.n);
    work.rows = static_cast<int>(with_query.end);
    work.query += static_cast<int>(with_query.begin);
    work.row = attention_query_row(args, block_z(), work.start) + work.query;
  }
  work.column = head * args.head_dim;
  if (work.query >= work.rows) return;
  work.multiplier = args.score_multiplier[head];
  work.limit = softmax_limit(work.multiplier);
  const Range globals =
      Tile::kGeneral ? attention_global_keys(args, work.start, work.n) : Range{0, 0};
  const AttentionSeen together = attention_seen_by<Tile::kGeneral>(
      args, globals, {work.query, work.query + kQueries}, work.n, kChunk);
  work.first = static_cast<int>(together.first);
  work.near = static_cast<int>(together.near.begin);
  work.far = static_cast<int>(together.near.end);
  work.last = static_cast<int>(together.last);
  work.begin = work.first > 0 ? 0 : work.near;
  work.end = work.last < work.n ? work.n : work.far;

  const int warp = thread_index() / kWarp;
  const Lane lane = lane_of(thread_index());
  const int query = work.query + warp * 16 + lane.group;
  const Seen<Tile> seen = keys_seen<Tile>(args, globals, query, work.n);
  constexpr bool narrow = Tile::kNarrow;
  const bool idle = narrow && work.query + warp * 16 >= work.rows;  // has no query of the sequence
  const bool at_once = narrow && work.end - work.begin <= Tile::kKeys;
  if (narrow) copy_queries(work, 0);

  // Where all is in shared memory at once, values arrive while the maxima are sought.
  Scores scores;
  int32_t largest[2] = {INT32_MIN, INT32_MIN};
  for (int block = work.begin; block < work.end; block = next_block(work, block)) {
    if (narrow) {
      if (block > work.begin) sync_block();  // what is there has been read
      copy_keys(work, block, 0);
      commit_copies();
      if (at_once) copy_values(work, block, 0);
      commit_copies();
      if (at_once) {
        copies_arrived<1>();
      } else {
        copies_arrived<0>();
      }
      sync_block();
    }
    const int live = idle ? 0 : live_keys(work, block);
    PYQRT_NO_UNROLL
    for (int chunk = block; chunk < block + live; chunk += kChunk) {
      if (unseen(work, chunk)) continue;
      compute_scores(work, scores, block, chunk, seen, query, warp, lane);
      raise_maximum(largest, scores, seen, chunk + 4 * lane.member);
    }
  }
  PYQRT_UNROLL
  for (int half = 0; half < 2; ++half) largest[half] = reduce_max<4>(largest[half]);

  for (int64_t column = 0; column < args.head_dim; column += Tile::kColumns) {
    Mixed<Tile> mixed = {};
    for (int block = work.begin; block < work.end; block = next_block(work, block)) {
      if (!at_once) {
        sync_block();  // what is there has been read
        if (narrow) copy_keys(work, block, 0);
        copy_values(work, block, column);
      }
      await_copies();
      transpose_values(work, block);
      sync_block();
      const int live = idle ? 0 : live_keys(work, block);
      PYQRT_NO_UNROLL
      for (int chunk = block; chunk < block + live; chunk += kChunk) {
        if (unseen(work, chunk)) continue;
        compute_scores(work, scores, block, chunk, seen, query, warp, lane);
        const Planes planes = to_planes(work, scores, largest, seen, chunk + 4 * lane.member);
        mix(work, mixed, planes, chunk - block, lane);
      }
    }
    store(work, mixed, column, query, lane);
  }
}

template <class Tile>
void launch_tile(AttentionArgs args, int64_t sequences, int64_t max_length, Stream& stream) {
  constexpr int64_t kMaxSequences = 65535;  // of a grid's third extent
  const bool one_query = attention_one_query(args);
  const int64_t blocks = one_query ? 1 : ceil_div(max_length, kQueries);
  for (; sequences > 0; sequences -= kMaxSequences, args.offsets += kMaxSequences) {
    launch<AttentionArgs>(attention_kernel<Tile>,
                          {blocks, args.heads, std::min(sequences, kMaxSequences)}, kThreads,
                          Tile::kSharedBytes, stream, args);
    if (one_query) args.query += kMaxSequences * args.query_stride;
  }
}

// kColumns: 32 where heads are no wider, else 64.
template <int kColumns>
void launch_columns(const AttentionArgs& args, int64_t sequences, int64_t max_length,
                    Stream& stream) {
  using Whole = Tile<kColumns, 512>;
  const bool narrow = args.head_dim <= kColumns;
  if (args.relative_index != nullptr || args.global_key || args.global_query || args.block > 0) {
    narrow ? launch_tile<Tile<kColumns, 128, true, true>>(args, sequences, max_length, stream)
           : launch_tile<Tile<kColumns, kChunk, false, true>>(args, sequences, max_length, stream);
  } else if (!narrow) {
    launch_tile<Tile<kColumns, kChunk, false>>(args, sequences, max_length, stream);
  } else if (max_length <= 128) {
    launch_tile<Tile<kColumns, 128>>(args, sequences, max_length, stream);
  } else if (max_length <= 256 || Whole::kSharedBytes > stream.device().shared_bytes) {
    launch_tile<Tile<kColumns, 256>>(args, sequences, max_length, stream);
  } else {
    launch_tile<Whole>(args, sequences, max_length, stream);
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
