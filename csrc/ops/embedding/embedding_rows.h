// What the vector variants of embedding share: the table rows of one output row, in pairs, because
// one pmaddwd multiplies two tables by their two multipliers and adds.
//
// `static`: translation units compiled for different instruction sets each keep their own copy.
#pragma once

#include "fixed/fixed.h"
#include "ops/embedding/embedding.h"

namespace pyqrt {

struct EmbeddingPair {
  const int8_t* row[2];
  int32_t multipliers;  // two int16; the second is 0 where there is no second table
};

struct EmbeddingRows {
  int pairs;
  EmbeddingPair pair[kMaxEmbeddingTables / 2];
};

static inline EmbeddingRows embedding_rows(const EmbeddingArgs& args, int64_t i) {
  EmbeddingRows rows{(args.tables + 1) / 2, {}};
  for (int t = 0; t < args.tables; ++t) {
    const EmbeddingTable& table = args.table[t];
    const int64_t entry = table.index[i];
    EmbeddingPair& pair = rows.pair[t / 2];
    pair.row[t % 2] = table.data + entry * args.width;
    if (t % 2 == 0) pair.row[1] = pair.row[0];
    pair.multipliers |= table.multiplier[entry] << (16 * (t % 2));
  }
  return rows;
}

}  // namespace pyqrt
