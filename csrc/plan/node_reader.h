// Checked access to one node of an untrusted program: every failure is an Error that names the
// node, the item, the value and the limit.
#pragma once

#include <set>
#include <string>
#include <string_view>

#include "base/cpu_features.h"
#include "plan/paired_weights.h"
#include "plan/program.h"

namespace pyqrt {

class NodeReader {
 public:
  NodeReader(const Program& program, const NodeSpec& spec, Isa isa, PairedWeights& paired_weights)
      : program_(program), spec_(spec), isa_(isa), paired_weights_(paired_weights) {}

  Isa isa() const { return isa_; }
  const Limits& limits() const { return program_.limits; }

  // Attributes. `otherwise` stands for one that is not there.
  int64_t integer(const std::string& key, int64_t low, int64_t high) const;
  int64_t integer(const std::string& key, int64_t low, int64_t high, int64_t otherwise) const;
  std::string text(const std::string& key) const;
  // The polynomial that the optional attribute "polynomial" names in `find`; without it "minimax".
  template <class Polynomial>
  Polynomial polynomial(const Polynomial* (*find)(std::string_view)) const {
    const std::string name =
        spec_.attributes.count("polynomial") != 0 ? text("polynomial") : "minimax";
    const Polynomial* found = find(name);
    if (found == nullptr) fail("unknown polynomial '" + name + "'; known: minimax, ibert");
    return *found;
  }

  // Buffers, by place in the node's lists. The number of places is checked by expect_buffers.
  void expect_buffers(std::size_t inputs, std::size_t outputs) const;
  std::size_t inputs() const { return spec_.inputs.size(); }
  std::size_t outputs() const { return spec_.outputs.size(); }
  int input(std::size_t place) const { return static_cast<int>(spec_.inputs[place]); }
  int output(std::size_t place) const { return static_cast<int>(spec_.outputs[place]); }
  const BufferSpec& input_spec(std::size_t place) const { return buffer(spec_.inputs[place]); }
  const BufferSpec& output_spec(std::size_t place) const { return buffer(spec_.outputs[place]); }
  void expect_buffer(const BufferSpec& spec, const char* what, DataType dtype, Rows rows,
                     int64_t width) const;

  // Constants. `has` asks for an optional one. Arrays are one-dimensional with at least `count`
  // elements; tables are [at least rows, width].
  bool has(const std::string& role) const { return spec_.tensors.count(role) != 0; }
  const int8_t* weight(const std::string& role, int64_t n, int64_t k) const;
  // Where the weight of `args`, which `weight(role)` gave, will be as the kernel of `isa` wants it.
  const PairedWeights::Place& paired_weight(const std::string& role, Isa isa,
                                            const LinearArgs& args) const;
  const int8_t* table(const std::string& role, int64_t rows, int64_t width) const;
  const int16_t* array16(const std::string& role, int64_t count, int64_t low, int64_t high) const;
  const int32_t* array32(const std::string& role, int64_t count, int64_t low, int64_t high) const;

  // What nobody asked for would change nothing, so a file that has it means something else.
  void expect_all_read() const;

  [[noreturn]] void fail(const std::string& message) const;

 private:
  const BufferSpec& buffer(int64_t number) const {
    return program_.buffers[static_cast<std::size_t>(number)];
  }
  const Tensor& tensor(const std::string& role, DataType dtype, std::size_t dimensions) const;

  const Program& program_;
  const NodeSpec& spec_;
  const Isa isa_;
  PairedWeights& paired_weights_;
  mutable std::set<std::string> read_;  // attributes and roles that were asked for
};

}  // namespace pyqrt
