#include "plan/node_reader.h"

namespace pyqrt {
namespace {

std::string shape_text(const std::vector<int64_t>& shape) {
  std::string text = "[";
  for (std::size_t i = 0; i < shape.size(); ++i) {
    text += (i == 0 ? "" : ", ") + std::to_string(shape[i]);
  }
  return text + "]";
}

std::string interval_text(int64_t low, int64_t high) {
  return "[" + std::to_string(low) + ", " + std::to_string(high) + "]";
}

// The largest constants any op takes are far below this; it keeps products of extents in range.
constexpr int64_t kMaxExtent = int64_t{1} << 31;

template <class Element>
void check_elements(const NodeReader& reader, const std::string& role, const Element* data,
                    int64_t count, int64_t low, int64_t high) {
  for (int64_t i = 0; i < count; ++i) {
    if (data[i] < low || data[i] > high) {
      reader.fail("tensor '" + role + "' holds " + std::to_string(data[i]) + " at " +
                  std::to_string(i) + ", outside " + interval_text(low, high));
    }
  }
}

}  // namespace

const char* dtype_name(DataType type) {
  return type == DataType::kS8 ? "s8" : type == DataType::kS16 ? "s16" : "s32";
}

const char* rows_name(Rows rows) {
  return rows == Rows::kTokens ? "tokens" : "sequences";
}

void NodeReader::fail(const std::string& message) const {
  throw Error("node '" + spec_.name + "' (" + spec_.op + "): " + message);
}

int64_t NodeReader::integer(const std::string& key, int64_t low, int64_t high) const {
  read_.insert(key);
  const auto found = spec_.attributes.find(key);
  if (found == spec_.attributes.end() || !std::holds_alternative<int64_t>(found->second)) {
    fail("the integer attribute '" + key + "' is missing");
  }
  const int64_t value = std::get<int64_t>(found->second);
  if (value < low || value > high) {
    fail("attribute '" + key + "' is " + std::to_string(value) + ", outside " +
         interval_text(low, high));
  }
  return value;
}

int64_t NodeReader::integer(const std::string& key, int64_t low, int64_t high,
                            int64_t otherwise) const {
  return spec_.attributes.count(key) != 0 ? integer(key, low, high) : otherwise;
}

std::string NodeReader::text(const std::string& key) const {
  read_.insert(key);
  const auto found = spec_.attributes.find(key);
  if (found == spec_.attributes.end() || !std::holds_alternative<std::string>(found->second)) {
    fail("the text attribute '" + key + "' is missing");
  }
  return std::get<std::string>(found->second);
}

void NodeReader::expect_all_read() const {
  for (const auto& [key, value] : spec_.attributes) {
    if (read_.count(key) == 0) fail("unknown attribute '" + key + "'");
  }
  for (const auto& [role, name] : spec_.tensors) {
    if (read_.count(role) == 0) fail("unknown tensor '" + role + "'");
  }
}

void NodeReader::expect_buffers(std::size_t inputs, std::size_t outputs) const {
  if (spec_.inputs.size() != inputs || spec_.outputs.size() != outputs) {
    fail("takes " + std::to_string(inputs) + " inputs and " + std::to_string(outputs) +
         " outputs, the program gives " + std::to_string(spec_.inputs.size()) + " and " +
         std::to_string(spec_.outputs.size()));
  }
}

void NodeReader::expect_buffer(const BufferSpec& spec, const char* what, DataType dtype, Rows rows,
                               int64_t width) const {
  if (spec.dtype != dtype || spec.rows != rows || spec.width != width) {
    const auto describe = [](DataType d, Rows r, int64_t w) {
      return std::string(dtype_name(d)) + " " + rows_name(r) + " x " + std::to_string(w);
    };
    fail(std::string(what) + " must be " + describe(dtype, rows, width) + ", the program says " +
         describe(spec.dtype, spec.rows, spec.width));
  }
}

const Tensor& NodeReader::tensor(const std::string& role, DataType dtype,
                                 std::size_t dimensions) const {
  read_.insert(role);
  const auto name = spec_.tensors.find(role);
  if (name == spec_.tensors.end()) fail("the tensor '" + role + "' is missing");
  const auto found = program_.tensors.find(name->second);
  if (found == program_.tensors.end()) {
    fail("tensor '" + role + "' names '" + name->second + "', which the file does not hold");
  }
  const Tensor& tensor = found->second;
  if (tensor.dtype != dtype || tensor.shape.size() != dimensions) {
    fail("tensor '" + role + "' must be " + dtype_name(dtype) + " with " +
         std::to_string(dimensions) + " dimensions, the file holds " + dtype_name(tensor.dtype) +
         " " + shape_text(tensor.shape));
  }
  for (int64_t extent : tensor.shape) {
    if (extent < 0 || extent > kMaxExtent) {
      fail("tensor '" + role + "' has the shape " + shape_text(tensor.shape));
    }
  }
  if (reinterpret_cast<std::uintptr_t>(tensor.data) % kAlignment != 0) {
    fail("tensor '" + role + "' does not start on " + std::to_string(kAlignment) + " bytes");
  }
  return tensor;
}

const int8_t* NodeReader::weight(const std::string& role, int64_t n, int64_t k) const {
  const Tensor& found = tensor(role, DataType::kS8, 4);
  const std::vector<int64_t> shape{ceil_div(n, 16), ceil_div(k, 4), 16, 4};
  if (found.shape != shape) {
    fail("tensor '" + role + "' must be " + shape_text(shape) + ", the file holds " +
         shape_text(found.shape));
  }
  return static_cast<const int8_t*>(found.data);
}

const PairedWeights::Place& NodeReader::paired_weight(const std::string& role, Isa isa,
                                                      const LinearArgs& args) const {
  return paired_weights_.place(isa, args, tensor(role, DataType::kS8, 4).is_mapped_file);
}

const int8_t* NodeReader::table(const std::string& role, int64_t rows, int64_t width) const {
  const Tensor& found = tensor(role, DataType::kS8, 2);
  if (found.shape[0] < rows || found.shape[1] != width) {
    fail("tensor '" + role + "' must be at least " + shape_text({rows, width}) +
         ", the file holds " + shape_text(found.shape));
  }
  return static_cast<const int8_t*>(found.data);
}

const int16_t* NodeReader::array16(const std::string& role, int64_t count, int64_t low,
                                   int64_t high) const {
  const Tensor& found = tensor(role, DataType::kS16, 1);
  if (found.shape[0] < count) {
    fail("tensor '" + role + "' needs " + std::to_string(count) + " elements, the file holds " +
         shape_text(found.shape));
  }
  const auto* data = static_cast<const int16_t*>(found.data);
  check_elements(*this, role, data, count, low, high);
  return data;
}

const int32_t* NodeReader::array32(const std::string& role, int64_t count, int64_t low,
                                   int64_t high) const {
  const Tensor& found = tensor(role, DataType::kS32, 1);
  if (found.shape[0] < count) {
    fail("tensor '" + role + "' needs " + std::to_string(count) + " elements, the file holds " +
         shape_text(found.shape));
  }
  const auto* data = static_cast<const int32_t*>(found.data);
  check_elements(*this, role, data, count, low, high);
  return data;
}

}  // namespace pyqrt
