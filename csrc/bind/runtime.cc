// pyqrt._runtime: Model (a checked plan over mapped tensors) and Session (threads and an arena).
#include "base/fletcher.h"
#include "bind/model.h"
#include "plan/session.h"

namespace pyqrt {
namespace {

Parallel parse_parallel(const std::string& name) {
  if (name == "rows") return Parallel::kRows;
  if (name == "texts") return Parallel::kTexts;
  throw Error("parallel is '" + name + "'; give 'rows' or 'texts'");
}

py::list isas() {
  py::list list;
  for (Isa isa : all_isas()) {
    py::dict item;
    item["name"] = isa_name(isa);
    item["compiled"] = isa_compiled(isa);
    item["supported"] = isa_supported(isa);
    item["chosen"] = isa == default_isa();
    list.append(item);
  }
  return list;
}

std::string digest(const py::array& array) {
  if ((array.flags() & py::array::c_style) == 0) throw Error("a digest is of a contiguous array");
  if (array.nbytes() % 4 != 0) throw Error("a digest is of a multiple of 4 bytes");
  const void* data = array.data();
  const int64_t bytes = array.nbytes();
  std::string digits;
  const WithoutGil release;
  for (const uint64_t sum : fletcher4(data, bytes)) {
    for (int shift = 60; shift >= 0; shift -= 4) digits += "0123456789abcdef"[sum >> shift & 15];
  }
  return digits;
}

}  // namespace
}  // namespace pyqrt

PYBIND11_MODULE(_runtime, module) {
  using pyqrt::Model;
  using pyqrt::Session;
  module.doc() = "Checked integer programs and the sessions that run them.";

  pyqrt::translate_errors();

  py::class_<Model>(module, "Model",
                    "A program and its tensors, checked, with a kernel chosen for every node.")
      .def(py::init<const py::dict&, const py::dict&, const std::string&>(), py::arg("program"),
           py::arg("tensors"), py::arg("isa") = "")
      .def("describe", &Model::describe, "Nodes, kernels, bit budgets and memory.")
      .def(
          "verify", [](const Model& model) { model.plan->verify(); },
          py::call_guard<pyqrt::WithoutGil>(), "Reads every weight and checks it.");

  py::class_<Session>(module, "Session", "Threads and working memory that run a model.")
      .def(py::init([](const Model& model, int threads, const std::string& parallel) {
             return std::make_unique<Session>(model.plan, threads, pyqrt::parse_parallel(parallel));
           }),
           py::arg("model"), py::arg("threads") = 0, py::arg("parallel") = "rows",
           py::keep_alive<1, 2>())
      .def("run", &pyqrt::run_session<Session>, py::arg("ids"), py::arg("offsets"),
           py::arg("types") = py::none(),
           "Runs packed sequences; one integer array per output of the program.")
      .def_property_readonly("threads", &Session::threads)
      .def_property_readonly("arena_bytes", &Session::arena_bytes);

  module.def(
      "digest", &pyqrt::digest, py::arg("array").noconvert(),
      "64 hex digits: Fletcher's sums over the array's words of 32 bits (csrc/base/fletcher.h).");
  module.def("isas", &pyqrt::isas, "The instruction-set variants, best first.");
  module.def("default_isa", [] { return std::string(isa_name(pyqrt::default_isa())); });
  module.def("available_cpus", &pyqrt::available_cpus);
  module.attr("MAX_THREADS") = pyqrt::ThreadPool::kMaxThreads;
}
