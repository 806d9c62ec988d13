// The integer program as data: what pyqrt/program.py describes, before anything is believed.
#pragma once

#include <map>
#include <string>
#include <variant>
#include <vector>

#include "base/types.h"

namespace pyqrt {

enum class Rows : uint8_t { kTokens, kSequences };

// A constant of the model file. The memory belongs to whoever made the program.
struct Tensor {
  const void* data = nullptr;
  DataType dtype = DataType::kS8;
  std::vector<int64_t> shape;
  // Does the memory map a file and is never written? Then pages can be given back; when they are
  // read again they come from the file.
  bool is_mapped_file = false;

  int64_t elements() const {
    int64_t count = 1;
    for (int64_t extent : shape) count *= extent;
    return count;
  }
};

struct BufferSpec {
  DataType dtype = DataType::kS8;
  Rows rows = Rows::kTokens;
  int64_t width = 0;
};

struct NodeSpec {
  std::string op;
  std::string name;
  std::vector<int64_t> inputs;
  std::vector<int64_t> outputs;
  std::map<std::string, std::variant<int64_t, std::string>> attributes;
  std::map<std::string, std::string> tensors;  // role -> name in Program::tensors
};

struct Limits {
  int64_t vocab_size = 0;
  int64_t max_length = 0;
  int64_t type_vocab_size = 0;
};

struct OutputSpec {
  std::string name;
  int64_t buffer = 0;
};

struct Program {
  Limits limits;
  std::vector<BufferSpec> buffers;
  std::vector<NodeSpec> nodes;
  std::vector<OutputSpec> outputs;
  std::map<std::string, Tensor> tensors;
};

const char* dtype_name(DataType type);
const char* rows_name(Rows rows);

}  // namespace pyqrt
