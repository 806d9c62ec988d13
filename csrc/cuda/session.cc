#include "cuda/session.h"

#include <algorithm>
#include <cstring>

#include "cuda/executor.h"
#include "plan/batch_checks.h"

namespace pyqrt::cuda {
namespace {

constexpr auto kLine = static_cast<int64_t>(kAlignment);
constexpr std::size_t kMaxRecordings = 128;

int64_t power_of_two_from(int64_t value) {
  int64_t power = 1;
  while (power < value) power *= 2;
  return power;
}

// Tells a program whose ops a GPU has from one whose ops it does not have.
class Probe final : public Executor {
 public:
  void embedding(const EmbeddingArgs&) override {}
  void linear(const LinearArgs&, Rows) override {}
  void attention(const AttentionArgs&) override {}
  void layernorm(const LayerNormArgs&, Rows) override {}
  void lookup(const LookupArgs&, Rows) override {}
  void normalize(const NormalizeArgs&, Rows) override {}
  void pool(const PoolArgs&) override {}
  void rotary(const RotaryArgs&) override {}
  void multiply(const MultiplyArgs&, Rows) override {}
  void neighbours(const NeighboursArgs&) override {}
  void match(const MatchArgs&) override {}
};

}  // namespace

// The inputs of a pass, in one piece of memory: int32 throughout.
struct Session::Inputs {
  Inputs(std::byte* memory, const Shape& shape) : counts(reinterpret_cast<int32_t*>(memory)) {
    constexpr int64_t kPerLine = kLine / 4;
    offsets = counts + kPerLine;
    ids = offsets + round_up(shape.sequences + 1, kPerLine);
    types = ids + round_up(shape.tokens, kPerLine);
    positions = types + round_up(shape.tokens, kPerLine);
    end = positions + round_up(shape.tokens, kPerLine);
  }
  std::size_t bytes() const { return static_cast<std::size_t>(end - counts) * sizeof(int32_t); }

  int32_t* counts;   // [2]: tokens, sequences
  int32_t* offsets;  // [sequences + 1]; those of sequences that do not count are all the last
  int32_t* ids;      // [tokens], as all below
  int32_t* types;
  int32_t* positions;
  int32_t* end;
};

Session::Session(std::shared_ptr<const Plan> plan, std::shared_ptr<const Constants> constants,
                 int device, int64_t pass_tokens)
    : plan_(std::move(plan)),
      constants_(std::move(constants)),
      stream_(device),
      pass_tokens_(pass_tokens) {
  views_.resize(plan_->program().buffers.size());
  Probe probe;
  const Batch batch;
  const Context context{batch, views_.data(), nullptr, 0};
  for (std::size_t i = 0; i < plan_->nodes().size(); ++i) {
    try {
      plan_->nodes()[i]->run_on(probe, context);
    } catch (const Error& error) {
      throw Error("node '" + plan_->program().nodes[i].name + "': " + error.what());
    }
  }
}

// Four sizes to each doubling, so that less than a fifth is wasted; blocks beyond what counts end
// at once.
Session::Shape Session::round_shape(int64_t tokens, int64_t sequences, int64_t max_length) {
  const int64_t token_step = std::max<int64_t>(16, power_of_two_from(tokens) / 8);
  const int64_t length_step = std::max<int64_t>(64, power_of_two_from(max_length) / 8);
  return {round_up(tokens, token_step), power_of_two_from(sequences),
          round_up(max_length, length_step)};
}

void Session::run(const int32_t* ids, const int32_t* types, const int32_t* offsets,
                  int64_t sequences, void* const* outputs) {
  const std::lock_guard<std::mutex> lock(mutex_);
  const Limits& limits = plan_->program().limits;
  check_offsets(limits, offsets, sequences, offsets[sequences]);
  check_tokens(limits, ids, types, offsets, sequences);
  for (int64_t first = 0; first < sequences;) {
    int64_t last = first + 1;
    while (last < sequences && last - first < kPassSequences &&
           offsets[last + 1] - offsets[first] <= pass_tokens_) {
      ++last;
    }
    run_pass(ids, types, offsets + first, last - first, outputs, first);
    first = last;
  }
}

void Session::run_pass(const int32_t* ids, const int32_t* types, const int32_t* offsets,
                       int64_t sequences, void* const* outputs, int64_t first_sequence) {
  const int32_t first_token = offsets[0];
  const int64_t tokens = offsets[sequences] - first_token;
  int64_t max_length = 0;
  for (int64_t s = 0; s < sequences; ++s) {
    max_length = std::max<int64_t>(max_length, offsets[s + 1] - offsets[s]);
  }
  const Shape shape = round_shape(tokens, sequences, max_length);
  reserve(shape);

  const Inputs inputs(staging_->data(), shape);
  std::memset(staging_->data(), 0, inputs.bytes());
  inputs.counts[0] = static_cast<int32_t>(tokens);
  inputs.counts[1] = static_cast<int32_t>(sequences);
  for (int64_t s = 0; s <= shape.sequences; ++s) {
    inputs.offsets[s] = offsets[std::min(s, sequences)] - first_token;
  }
  std::copy(ids + first_token, ids + first_token + tokens, inputs.ids);
  if (types != nullptr) std::copy(types + first_token, types + first_token + tokens, inputs.types);
  for (int64_t s = 0; s < sequences; ++s) {
    for (int32_t t = inputs.offsets[s]; t < inputs.offsets[s + 1]; ++t) {
      inputs.positions[t] = t - inputs.offsets[s];
    }
  }

  place_buffers(shape);
  std::unique_ptr<Recording>& recording = recordings_[shape];
  if (recording == nullptr) recording = stream_.record([&] { launch_nodes(shape); });
  stream_.mark(Stream::Mark::kBegin);
  stream_.replay(*recording);
  stream_.mark(Stream::Mark::kEnd);

  const Program& program = plan_->program();
  for (std::size_t i = 0; i < program.outputs.size(); ++i) {
    const auto b = static_cast<std::size_t>(program.outputs[i].buffer);
    const BufferSpec& spec = program.buffers[b];
    const std::size_t element = size_of(spec.dtype);
    const std::size_t row_bytes = static_cast<std::size_t>(spec.width) * element;
    const bool of_tokens = spec.rows == Rows::kTokens;
    const auto first = static_cast<std::size_t>(of_tokens ? first_token : first_sequence);
    stream_.copy_to_host(static_cast<std::byte*>(outputs[i]) + first * row_bytes, views_[b].data,
                         row_bytes, static_cast<std::size_t>(views_[b].stride) * element,
                         static_cast<std::size_t>(of_tokens ? tokens : sequences));
  }
  stream_.wait();
  device_ms_ = stream_.milliseconds_between_marks();
}

void Session::reserve(const Shape& shape) {
  const int device = stream_.device().index;
  if (recordings_.size() >= kMaxRecordings) recordings_.clear();
  const std::size_t input_bytes = Inputs(nullptr, shape).bytes();
  if (inputs_ == nullptr || input_bytes > inputs_->size()) {
    recordings_.clear();  // they hold addresses
    inputs_.reset();
    staging_.reset();
    auto staging = std::make_unique<PinnedMemory>(device, input_bytes);
    inputs_ = std::make_unique<Memory>(device, input_bytes);
    staging_ = std::move(staging);
  }
  const ArenaLayout& layout = plan_->arena();
  const auto arena_bytes =
      static_cast<std::size_t>(layout.bytes_per_row(Rows::kTokens) * shape.tokens +
                               layout.bytes_per_row(Rows::kSequences) * shape.sequences);
  if (arena_ == nullptr || arena_bytes > arena_->size()) {
    recordings_.clear();
    arena_.reset();
    arena_ = std::make_unique<Memory>(device, arena_bytes);
  }
}

void Session::place_buffers(const Shape& shape) {
  const Program& program = plan_->program();
  const ArenaLayout& layout = plan_->arena();
  std::vector<std::byte*> slots;
  std::byte* next = arena_->data();
  for (const ArenaLayout::Slot& slot : layout.slots) {
    slots.push_back(next);
    next += slot.row_bytes * (slot.rows == Rows::kTokens ? shape.tokens : shape.sequences);
  }
  for (std::size_t b = 0; b < views_.size(); ++b) {
    if (layout.slot_of[b] < 0) continue;
    views_[b] = {slots[static_cast<std::size_t>(layout.slot_of[b])],
                 layout.row_bytes_of[b] / static_cast<int64_t>(size_of(program.buffers[b].dtype))};
  }
}

void Session::launch_nodes(const Shape& shape) {
  const Inputs inputs(inputs_->data(), shape);
  stream_.copy_to_device(inputs_->data(), staging_->data(), inputs.bytes());
  Batch batch;
  batch.tokens = shape.tokens;
  batch.sequences = shape.sequences;
  batch.max_length = shape.max_length;
  batch.ids = inputs.ids;
  batch.types = inputs.types;
  batch.positions = inputs.positions;
  batch.offsets = inputs.offsets;
  const Context context{batch, views_.data(), nullptr, 0};
  KernelExecutor executor(*constants_, batch, {inputs.counts, inputs.counts + 1}, stream_);
  for (const auto& node : plan_->nodes()) node->run_on(executor, context);
}

}  // namespace pyqrt::cuda
