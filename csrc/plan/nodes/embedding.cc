#include "ops/embedding/embedding.h"

#include "fixed/fixed.h"
#include "plan/node.h"
#include "plan/node_reader.h"

namespace pyqrt {
namespace {

class Embedding final : public Node {
 public:
  explicit Embedding(const NodeReader& reader)
      : kernel_(select_kernel(kEmbeddingKernels, reader.isa())) {
    reader.expect_buffers(0, 1);
    output_ = reader.output(0);
    args_.width = reader.output_spec(0).width;
    reader.expect_buffer(reader.output_spec(0), "the output", DataType::kS16, Rows::kTokens,
                         args_.width);
    args_.shift = static_cast<int>(reader.integer("shift", 1, 30));
    const Limits& limits = reader.limits();
    position_offset_ = static_cast<int32_t>(reader.integer("position_offset", 0, 65536));
    if (reader.has("word")) add_table(reader, "word", limits.vocab_size, Index::kWord);
    if (reader.has("position")) {
      add_table(reader, "position", limits.max_length + position_offset_, Index::kPosition);
    }
    if (reader.has("type")) add_table(reader, "type", limits.type_vocab_size, Index::kType);
    if (args_.tables == 0) reader.fail("there is no table; known: word, position, type");
    report.variant = kernel_.isa;
    report.widest_bits =
        fixed::bit_length(static_cast<uint64_t>(args_.tables) * fixed::kMaxS8 * fixed::kMaxS16) + 1;
  }

  Items items() const override { return Items::kTokens; }

  void run(const Context& context, Range items, Range, int) const override {
    const EmbeddingArgs args = bind(context);
    kernel_.run(args, items);
  }

  void run_on(Executor& executor, const Context& context) const override {
    executor.embedding(bind(context));
  }

  void verify() const override {
    for (int t = 0; t < args_.tables; ++t) {
      for (int64_t i = 0; i < rows_[t]; ++i) {
        const int8_t* row = args_.table[t].data + i * args_.width;
        // No branch within the row, so that the compiler can vectorize.
        int beyond = 0;
        for (int64_t c = 0; c < args_.width; ++c) beyond |= row[c] < -fixed::kMaxS8;
        if (beyond != 0) {
          throw Error("row " + std::to_string(i) + " of table " + std::to_string(t) +
                      " holds -128, outside [-127, 127]");
        }
      }
    }
  }

 private:
  EmbeddingArgs bind(const Context& context) const {
    EmbeddingArgs args = args_;
    for (int t = 0; t < args.tables; ++t) {
      args.table[t].index = index_[t] == Index::kWord   ? context.batch.ids
                            : index_[t] == Index::kType ? context.batch.types
                                                        : context.batch.positions;
    }
    args.output = context.buffers[output_].as<int16_t>();
    args.output_stride = context.buffers[output_].stride;
    return args;
  }

  enum class Index : uint8_t { kWord, kPosition, kType };

  void add_table(const NodeReader& reader, const std::string& role, int64_t rows, Index index) {
    EmbeddingTable& table = args_.table[args_.tables];
    index_[args_.tables] = index;
    ++args_.tables;
    table.data = reader.table(role, rows, args_.width);
    table.multiplier = reader.array16(role + "_multiplier", rows, 0, fixed::kMaxS16);
    // Positions count from 0 within a sequence; the offset moves the table instead.
    if (index == Index::kPosition) {
      table.data += int64_t{position_offset_} * args_.width;
      table.multiplier += position_offset_;
    }
    rows_[args_.tables - 1] = rows - (index == Index::kPosition ? position_offset_ : 0);
    report.weight_bytes += rows * args_.width;
  }

  const Kernel<EmbeddingKernel>& kernel_;
  EmbeddingArgs args_;
  Index index_[kMaxEmbeddingTables] = {};
  int64_t rows_[kMaxEmbeddingTables] = {};  // that an index can reach
  int32_t position_offset_ = 0;
  int output_ = -1;
};

}  // namespace

std::unique_ptr<Node> make_embedding(const NodeReader& reader) {
  return std::make_unique<Embedding>(reader);
}

}  // namespace pyqrt
