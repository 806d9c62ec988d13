#include "plan/plan.h"

#include <algorithm>
#include <map>

#include "plan/node_reader.h"

namespace pyqrt {
namespace {

constexpr int64_t kMaxCount = 65536;  // buffers or nodes
constexpr int64_t kMaxWidth = int64_t{1} << 22;
constexpr int64_t kMaxLength = 65536;  // tokens of a sequence, as the contracts allow
constexpr int64_t kMaxVocabulary = int64_t{1} << 27;

void check_limit(const char* name, int64_t value, int64_t low, int64_t high) {
  if (value < low || value > high) {
    throw Error(std::string("the program's ") + name + " is " + std::to_string(value) +
                ", outside [" + std::to_string(low) + ", " + std::to_string(high) + "]");
  }
}

NodeFactory* find_factory(const NodeSpec& spec) {
  static const std::map<std::string, NodeFactory*> kFactories{
      {"embedding", make_embedding},   {"linear", make_linear}, {"attention", make_attention},
      {"layernorm", make_layernorm},   {"lookup", make_lookup}, {"pool", make_pool},
      {"normalize", make_normalize},   {"rotary", make_rotary}, {"multiply", make_multiply},
      {"neighbours", make_neighbours}, {"match", make_match},
  };
  const auto found = kFactories.find(spec.op);
  if (found != kFactories.end()) return found->second;
  std::string known;
  for (const auto& [name, factory] : kFactories) known += (known.empty() ? "" : ", ") + name;
  throw Error("node '" + spec.name + "': unknown operation '" + spec.op + "'; known: " + known);
}

}  // namespace

int64_t Node::count(const Batch& batch) const {
  return items() == Items::kTokens ? batch.tokens : batch.sequences;
}

void Node::run_on(Executor&, const Context&) const {
  throw Error("the operation runs on the CPU only; use device='cpu'");
}

std::size_t Node::scratch_bytes(int64_t) const {
  return 0;
}

Plan::Plan(Program program, Isa isa) : program_(std::move(program)), isa_(isa) {
  check_limits();
  check_buffers();
  nodes_.reserve(program_.nodes.size());
  for (const NodeSpec& spec : program_.nodes) {
    const NodeReader reader(program_, spec, isa_, *paired_weights_);
    nodes_.push_back(find_factory(spec)(reader));
    reader.expect_all_read();
  }
  arena_ = layout_arena(program_);
}

void Plan::check_limits() const {
  check_limit("vocab_size", program_.limits.vocab_size, 1, kMaxVocabulary);
  check_limit("max_length", program_.limits.max_length, 1, kMaxLength);
  check_limit("type_vocab_size", program_.limits.type_vocab_size, 1, kMaxVocabulary);
  check_limit("number of buffers", static_cast<int64_t>(program_.buffers.size()), 1, kMaxCount);
  check_limit("number of nodes", static_cast<int64_t>(program_.nodes.size()), 1, kMaxCount);
  check_limit("number of outputs", static_cast<int64_t>(program_.outputs.size()), 1, kMaxCount);
}

// Every buffer is written by exactly one node, before any node reads it.
void Plan::check_buffers() const {
  const auto count = static_cast<int64_t>(program_.buffers.size());
  for (int64_t b = 0; b < count; ++b) {
    check_limit(("width of buffer " + std::to_string(b)).c_str(),
                program_.buffers[static_cast<std::size_t>(b)].width, 1, kMaxWidth);
  }
  std::vector<bool> written(program_.buffers.size(), false);
  const auto check_number = [&](const std::string& who, int64_t number) {
    if (number < 0 || number >= count) {
      throw Error(who + " names buffer " + std::to_string(number) + "; the program has " +
                  std::to_string(count));
    }
  };
  const auto check_read = [&](const std::string& who, int64_t number) {
    check_number(who, number);
    if (!written[static_cast<std::size_t>(number)]) {
      throw Error(who + " reads buffer " + std::to_string(number) + " before it is written");
    }
  };
  for (const NodeSpec& spec : program_.nodes) {
    const std::string who = "node '" + spec.name + "'";
    for (int64_t number : spec.inputs) check_read(who, number);
    for (int64_t number : spec.outputs) {
      check_number(who, number);
      if (written[static_cast<std::size_t>(number)]) {
        throw Error(who + " writes buffer " + std::to_string(number) + " a second time");
      }
      written[static_cast<std::size_t>(number)] = true;
    }
  }
  for (const OutputSpec& output : program_.outputs) {
    check_read("output '" + output.name + "'", output.buffer);
  }
}

std::size_t Plan::scratch_bytes(int64_t max_length) const {
  std::size_t bytes = 0;
  for (const auto& node : nodes_) bytes = std::max(bytes, node->scratch_bytes(max_length));
  return static_cast<std::size_t>(
      round_up(static_cast<int64_t>(bytes), static_cast<int64_t>(kAlignment)));
}

void Plan::verify() const {
  for (std::size_t i = 0; i < nodes_.size(); ++i) {
    try {
      nodes_[i]->verify();
    } catch (const Error& error) {
      throw Error("node '" + program_.nodes[i].name + "': " + error.what());
    }
  }
}

}  // namespace pyqrt
