// embedding, NEON: 16 columns at a time, the tail in scalar code.
#include "fixed/fixed_neon.h"
#include "ops/embedding/embedding.h"

namespace pyqrt {
namespace {

struct TableRow {
  const int8_t* data;
  int16_t multiplier;
};

void row(const EmbeddingArgs& args, int64_t i) {
  TableRow rows[kMaxEmbeddingTables];
  for (int t = 0; t < args.tables; ++t) {
    const EmbeddingTable& table = args.table[t];
    const int64_t entry = table.index[i];
    rows[t] = {table.data + entry * args.width, table.multiplier[entry]};
  }
  int16_t* output = args.output + i * args.output_stride;
  int64_t c = 0;
  for (; c + 16 <= args.width; c += 16) {
    int32x4_t sum[4];
    for (int32x4_t& lane : sum) lane = vdupq_n_s32(0);
    for (int t = 0; t < args.tables; ++t) {
      const int8x16_t x = vld1q_s8(rows[t].data + c);
      const int16x8_t low = vmovl_s8(vget_low_s8(x));
      const int16x8_t high = vmovl_high_s8(x);
      const int16_t multiplier = rows[t].multiplier;
      sum[0] = vmlal_n_s16(sum[0], vget_low_s16(low), multiplier);
      sum[1] = vmlal_high_n_s16(sum[1], low, multiplier);
      sum[2] = vmlal_n_s16(sum[2], vget_low_s16(high), multiplier);
      sum[3] = vmlal_high_n_s16(sum[3], high, multiplier);
    }
    for (int32x4_t& lane : sum) lane = neon::rshr(lane, args.shift);
    vst1q_s16(output + c, neon::pack_sat16(sum[0], sum[1]));
    vst1q_s16(output + c + 8, neon::pack_sat16(sum[2], sum[3]));
  }
  for (; c < args.width; ++c) {
    int32_t sum = 0;
    for (int t = 0; t < args.tables; ++t) sum += rows[t].data[c] * rows[t].multiplier;
    output[c] = static_cast<int16_t>(fixed::sat16(fixed::rshr(sum, args.shift)));
  }
}

}  // namespace

void embedding_neon(const EmbeddingArgs& args, Range rows) {
  for (int64_t i = rows.begin; i < rows.end; ++i) row(args, i);
}

}  // namespace pyqrt
