// pyqrt._cuda: Model and Session as in pyqrt._runtime, on a GPU. Also pyqrt._cuda_emulator.
#include "bind/model.h"
#include "cuda/session.h"
#ifdef PYQRT_CUDA_EMULATOR
#include "cuda/emulator/emulator.h"
#endif

namespace pyqrt {
namespace {

// A checked program whose constants are copied to a device when its first session is made.
struct CudaModel : Model {
  using Model::Model;

  std::unique_ptr<cuda::Session> new_session(int device, int64_t pass_tokens) {
    const std::lock_guard<std::mutex> lock(mutex);
    std::shared_ptr<const cuda::Constants>& there = constants[device];
    if (there == nullptr) {
      cuda::Stream stream(device);
      there = std::make_shared<const cuda::Constants>(plan->program(), stream);
    }
    return std::make_unique<cuda::Session>(plan, there, device, pass_tokens);
  }

  std::mutex mutex;
  std::map<int, std::shared_ptr<const cuda::Constants>> constants;  // by device
};

py::list devices() {
  py::list list;
  for (int i = 0; i < cuda::device_count(); ++i) {
    const cuda::Device device = cuda::describe_device(i);
    py::dict item;
    item["index"] = device.index;
    item["name"] = cuda::device_name(i);
    item["capability"] = device.capability;
    item["code_capability"] = device.code_capability;
    item["warpgroups"] = device.warpgroups;
    item["multiprocessors"] = device.multiprocessors;
    list.append(item);
  }
  return list;
}

}  // namespace
}  // namespace pyqrt

PYBIND11_MODULE(PYQRT_MODULE, module) {
  using pyqrt::CudaModel;
  using pyqrt::cuda::Session;
  module.doc() = "Checked integer programs and the sessions that run them on a GPU.";
  pyqrt::translate_errors();

  py::class_<CudaModel>(module, "Model", py::module_local(),
                        "A program and its tensors, checked; constants go to the device.")
      .def(py::init<const py::dict&, const py::dict&, const std::string&>(), py::arg("program"),
           py::arg("tensors"), py::arg("isa") = "")
      .def("describe", &CudaModel::describe, "Nodes, bit budgets and memory.")
      .def(
          "verify", [](const CudaModel& model) { model.plan->verify(); },
          py::call_guard<pyqrt::WithoutGil>(), "Reads every weight and checks it.");

  py::class_<Session>(module, "Session", py::module_local(),
                      "A stream and working memory that run a model.")
      .def(py::init([](CudaModel& model, int device, int64_t pass_tokens) {
             return model.new_session(device, pass_tokens);
           }),
           py::arg("model"), py::arg("device") = 0, py::arg("pass_tokens") = Session::kPassTokens,
           py::keep_alive<1, 2>())
      .def("run", &pyqrt::run_session<Session>, py::arg("ids"), py::arg("offsets"),
           py::arg("types") = py::none(),
           "Runs packed sequences; one integer array per output of the program.")
      .def_property_readonly("device_ms", &Session::device_ms,
                             "Milliseconds on the device of the last pass, by its own clock.")
      .def_property_readonly("arena_bytes", &Session::arena_bytes);

#ifdef PYQRT_CUDA_EMULATOR
  module.def("emulate", &pyqrt::cuda::emulator::emulate, py::arg("capability"), py::arg("order"));
#endif
  module.def("devices", &pyqrt::devices, "The GPUs that this process can use.");
}
