// What the modules that run models share: a program from Python, checked; a batch in, arrays out.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <optional>

#include "bind/without_gil.h"
#include "plan/batch_checks.h"
#include "plan/plan.h"

namespace py = pybind11;

namespace pyqrt {
namespace {

using Int32Array = py::array_t<int32_t, py::array::c_style>;

DataType parse_dtype(const std::string& name) {
  for (DataType type : {DataType::kS8, DataType::kS16, DataType::kS32}) {
    if (name == dtype_name(type)) return type;
  }
  throw Error("unknown element type '" + name + "'; known: s8, s16, s32");
}

Rows parse_rows(const std::string& name) {
  for (Rows rows : {Rows::kTokens, Rows::kSequences}) {
    if (name == rows_name(rows)) return rows;
  }
  throw Error("unknown kind of rows '" + name + "'; known: tokens, sequences");
}

// A required entry of a dictionary, as the type that is asked for.
template <class Value>
Value entry(const py::handle& owner, const char* key, const char* what) {
  if (!py::isinstance<py::dict>(owner)) throw Error(std::string(what) + " is not a dictionary");
  const auto dictionary = py::reinterpret_borrow<py::dict>(owner);
  if (!dictionary.contains(key)) throw Error(std::string(what) + " lacks '" + key + "'");
  try {
    return dictionary[key].cast<Value>();
  } catch (const py::cast_error&) {
    throw Error(std::string(what) + " has a value of the wrong type for '" + key + "'");
  }
}

Program parse_program(const py::dict& source) {
  Program program;
  const auto limits = entry<py::dict>(source, "limits", "the program");
  program.limits = {entry<int64_t>(limits, "vocab_size", "limits"),
                    entry<int64_t>(limits, "max_length", "limits"),
                    entry<int64_t>(limits, "type_vocab_size", "limits")};
  for (const py::handle item : entry<py::sequence>(source, "buffers", "the program")) {
    program.buffers.push_back({parse_dtype(entry<std::string>(item, "dtype", "a buffer")),
                               parse_rows(entry<std::string>(item, "rows", "a buffer")),
                               entry<int64_t>(item, "width", "a buffer")});
  }
  for (const py::handle item : entry<py::sequence>(source, "nodes", "the program")) {
    NodeSpec node;
    node.op = entry<std::string>(item, "op", "a node");
    node.name = entry<std::string>(item, "name", "a node");
    node.inputs = entry<std::vector<int64_t>>(item, "inputs", "a node");
    node.outputs = entry<std::vector<int64_t>>(item, "outputs", "a node");
    node.attributes = entry<decltype(node.attributes)>(item, "attributes", "a node");
    node.tensors = entry<decltype(node.tensors)>(item, "tensors", "a node");
    program.nodes.push_back(std::move(node));
  }
  for (const py::handle item : entry<py::sequence>(source, "outputs", "the program")) {
    program.outputs.push_back({entry<std::string>(item, "name", "an output"),
                               entry<int64_t>(item, "buffer", "an output")});
  }
  return program;
}

// Does the array lie in an mmap.mmap that cannot be written to, by whatever other view of it?
bool is_mapped_file(const py::array& array) {
  py::object owner = array;
  while (py::isinstance<py::array>(owner)) owner = owner.attr("base");
  if (py::isinstance<py::memoryview>(owner)) owner = owner.attr("obj");
  return py::isinstance(owner, py::module_::import("mmap").attr("mmap")) &&
         py::memoryview(owner).attr("readonly").cast<bool>();
}

Tensor parse_tensor(const std::string& name, const py::handle& value) {
  if (!py::isinstance<py::array>(value)) {
    throw Error("tensor '" + name + "' is not a numpy array");
  }
  const auto array = py::reinterpret_borrow<py::array>(value);
  Tensor tensor;
  if (py::isinstance<py::array_t<int8_t>>(array)) {
    tensor.dtype = DataType::kS8;
  } else if (py::isinstance<py::array_t<int16_t>>(array)) {
    tensor.dtype = DataType::kS16;
  } else if (py::isinstance<py::array_t<int32_t>>(array)) {
    tensor.dtype = DataType::kS32;
  } else {
    throw Error("tensor '" + name + "' has an element type other than int8, int16 and int32");
  }
  if ((array.flags() & py::array::c_style) == 0) {
    throw Error("tensor '" + name + "' is not contiguous");
  }
  tensor.data = array.data();
  tensor.is_mapped_file = is_mapped_file(array);
  tensor.shape.assign(array.shape(), array.shape() + array.ndim());
  return tensor;
}

struct Model {
  Model(const py::dict& program_source, const py::dict& tensor_source, const std::string& isa)
      : tensors(tensor_source) {
    Program program = parse_program(program_source);
    for (const auto& [key, value] : tensor_source) {
      const auto name = key.cast<std::string>();
      program.tensors.emplace(name, parse_tensor(name, value));
    }
    plan = std::make_shared<const Plan>(std::move(program),
                                        isa.empty() ? default_isa() : resolve_isa(isa));
  }

  py::dict describe() const {
    py::list nodes;
    for (std::size_t i = 0; i < plan->nodes().size(); ++i) {
      const NodeSpec& spec = plan->program().nodes[i];
      const NodeReport& report = plan->nodes()[i]->report;
      py::dict node;
      node["op"] = spec.op;
      node["name"] = spec.name;
      node["variant"] = isa_name(report.variant);
      node["inputs"] = spec.inputs;
      node["outputs"] = spec.outputs;
      node["accumulator_bits"] = report.widest_bits;
      node["budget_bits"] = report.budget_bits;
      node["weight_bytes"] = report.weight_bytes;
      nodes.append(node);
    }
    int64_t tensor_bytes = 0;
    for (const auto& [name, tensor] : plan->program().tensors) {
      tensor_bytes += tensor.elements() * static_cast<int64_t>(size_of(tensor.dtype));
    }
    py::dict description;
    description["isa"] = isa_name(plan->isa());
    description["nodes"] = nodes;
    description["arena_bytes_per_token"] = plan->arena().bytes_per_row(Rows::kTokens);
    description["arena_bytes_per_sequence"] = plan->arena().bytes_per_row(Rows::kSequences);
    description["tensor_bytes"] = tensor_bytes;
    return description;
  }

  py::dict tensors;  // keeps the constants' memory alive
  std::shared_ptr<const Plan> plan;
};

py::array new_array(DataType dtype, int64_t rows, int64_t width) {
  const std::vector<py::ssize_t> shape{rows, width};
  switch (dtype) {
    case DataType::kS8:
      return py::array_t<int8_t>(shape);
    case DataType::kS16:
      return py::array_t<int16_t>(shape);
    case DataType::kS32:
      return py::array_t<int32_t>(shape);
  }
  throw Error("unknown element type");
}

py::array make_output(const std::string& name, const BufferSpec& spec, int64_t rows) {
  try {
    return new_array(spec.dtype, rows, spec.width);
  } catch (const py::error_already_set& error) {
    if (!error.matches(PyExc_MemoryError)) throw;
    throw Error("output '" + name + "' of this batch needs " + std::to_string(rows) + " x " +
                std::to_string(spec.width) + " elements of type " + dtype_name(spec.dtype) +
                ", memory that the system does not give; run fewer texts at a time, or raise the "
                "memory limit");
  }
}

// `Session`: plan/session.h or cuda/session.h.
template <class Session>
py::list run_session(Session& session, const Int32Array& ids, const Int32Array& offsets,
                     const std::optional<Int32Array>& types) {
  if (ids.ndim() != 1 || offsets.ndim() != 1 || offsets.size() < 1) {
    throw Error("ids and offsets must be one-dimensional, and offsets hold at least one element");
  }
  if (types && (types->ndim() != 1 || types->size() != ids.size())) {
    throw Error("types must be one-dimensional with one element per id");
  }
  const int64_t sequences = offsets.size() - 1;
  const Program& program = session.plan().program();
  check_offsets(program.limits, offsets.data(), sequences, ids.size());
  py::list outputs;
  std::vector<void*> memory;
  for (const OutputSpec& output : program.outputs) {
    const BufferSpec& spec = program.buffers[static_cast<std::size_t>(output.buffer)];
    const int64_t rows = spec.rows == Rows::kTokens ? ids.size() : sequences;
    py::array array = make_output(output.name, spec, rows);
    memory.push_back(array.mutable_data());
    outputs.append(std::move(array));
  }
  const int32_t* type_data = types ? types->data() : nullptr;
  const int32_t* id_data = ids.data();
  const int32_t* offset_data = offsets.data();
  {
    const WithoutGil release;
    session.run(id_data, type_data, offset_data, sequences, memory.data());
  }
  return outputs;
}

// Errors become Python's pyqrt.ModelError.
void translate_errors() {
  py::register_exception_translator([](std::exception_ptr pointer) {
    try {
      if (pointer) std::rethrow_exception(pointer);
    } catch (const Error& error) {
      py::set_error(py::module_::import("pyqrt.errors").attr("ModelError"), error.what());
    }
  });
}

}  // namespace
}  // namespace pyqrt
