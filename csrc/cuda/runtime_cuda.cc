// runtime.h by CUDA's runtime library, linked statically: it looks for the driver when first asked,
// so this loads on machines without one.
#include <cuda_runtime_api.h>

#include "base/types.h"
#include "cuda/code.h"
#include "cuda/runtime.h"

namespace pyqrt::cuda {
namespace {

constexpr int kLeastCapability = 75;      // integer products of tensor cores
constexpr int kWarpgroupCapability = 90;  // the only one that has them
constexpr int kOverlapCapability = 90;    // from here on kernels wait for the one before
#ifdef PYQRT_CUDA_WARPGROUPS
constexpr bool kCodeHasWarpgroups = true;
#else
constexpr bool kCodeHasWarpgroups = false;
#endif

std::string remedy(cudaError_t error) {
  switch (error) {
    case cudaErrorMemoryAllocation:
      return "; use smaller batches or shorter texts, or free memory of the GPU";
    case cudaErrorNoDevice:
    case cudaErrorInsufficientDriver:
    case cudaErrorSystemDriverMismatch:
      return "; install or update NVIDIA's driver, or use device='cpu'";
    case cudaErrorNoKernelImageForDevice:
    case cudaErrorUnsupportedPtxVersion:
      return "; this build has no kernels that this GPU and driver can run: update the driver, "
             "build for this GPU (PYQRT_CUDA_ARCHITECTURES), or use device='cpu'";
    default:
      return "; if this recurs, the GPU or its driver is in a bad state: restart the process, or "
             "use "
             "device='cpu'";
  }
}

// Errors stay until they are read, and some make the device useless for good: say so each time.
void check(cudaError_t error, const std::string& what) {
  if (error == cudaSuccess) return;
  cudaGetLastError();
  throw Error("CUDA: " + what + ": " + cudaGetErrorString(error) + " (" + cudaGetErrorName(error) +
              ")" + remedy(error));
}

void use(int device) {
  const int count = device_count();
  if (device < 0 || device >= count) {
    throw Error("CUDA: there is no device " + std::to_string(device) + "; this process has " +
                std::to_string(count) + ", counted from 0");
  }
  check(cudaSetDevice(device), "choosing device " + std::to_string(device));
}

cudaStream_t stream_of(void* native) {
  return static_cast<cudaStream_t>(native);
}

}  // namespace

int device_count() {
  int count = 0;
  check(cudaGetDeviceCount(&count), "looking for a GPU");
  return count;
}

Device describe_device(int index) {
  use(index);
  const auto attribute = [index](cudaDeviceAttr which) {
    int value = 0;
    check(cudaDeviceGetAttribute(&value, which, index), "asking a GPU what it is");
    return value;
  };
  Device device;
  device.index = index;
  device.capability = 10 * attribute(cudaDevAttrComputeCapabilityMajor) +
                      attribute(cudaDevAttrComputeCapabilityMinor);
  device.multiprocessors = attribute(cudaDevAttrMultiProcessorCount);
  device.shared_bytes = attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin);
  if (device.capability < kLeastCapability) {
    throw Error("CUDA: device " + std::to_string(index) + " is of compute capability " +
                std::to_string(device.capability / 10) + "." +
                std::to_string(device.capability % 10) +
                "; the kernels need 7.5 or later; use device='cpu'");
  }
  cudaFuncAttributes code;
  check(cudaFuncGetAttributes(&code, any_kernel()), "looking for kernels that it can run");
  device.code_capability = code.ptxVersion;
  device.warpgroups = kCodeHasWarpgroups && device.capability == kWarpgroupCapability &&
                      device.code_capability == kWarpgroupCapability;
  return device;
}

std::string device_name(int index) {
  use(index);
  cudaDeviceProp properties;
  check(cudaGetDeviceProperties(&properties, index), "asking a GPU for its name");
  return properties.name;
}

struct Recording::State {
  cudaGraphExec_t graph = nullptr;
};
Recording::Recording() : state_(new State) {}
Recording::~Recording() {
  if (state_->graph != nullptr) cudaGraphExecDestroy(state_->graph);
}

struct Stream::State {
  Device device;
  cudaStream_t stream = nullptr;
  bool owned = false;
  cudaEvent_t marks[2] = {};
  bool recording = false;
  bool may_overlap = false;  // the last thing recorded is a kernel, which the next may overlap
};

Stream::Stream(int device, void* native) : state_(new State) {
  state_->device = describe_device(device);
  state_->stream = stream_of(native);
  if (native == nullptr) {
    check(cudaStreamCreateWithFlags(&state_->stream, cudaStreamNonBlocking), "making a stream");
    state_->owned = true;
  }
}
Stream::~Stream() {
  for (cudaEvent_t event : state_->marks) {
    if (event != nullptr) cudaEventDestroy(event);
  }
  if (state_->owned) cudaStreamDestroy(state_->stream);
}

const Device& Stream::device() const {
  return state_->device;
}

void Stream::copy_to_device(void* to, const void* from, std::size_t bytes) {
  state_->may_overlap = false;
  check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, state_->stream),
        "copying to the GPU");
}

void Stream::copy_to_host(void* to, const void* from, std::size_t width, std::size_t from_pitch,
                          std::size_t rows) {
  state_->may_overlap = false;
  check(cudaMemcpy2DAsync(to, width, from, from_pitch, width, rows, cudaMemcpyDeviceToHost,
                          state_->stream),
        "copying from the GPU");
}

void Stream::clear(void* memory, std::size_t bytes) {
  state_->may_overlap = false;
  check(cudaMemsetAsync(memory, 0, bytes, state_->stream), "clearing memory of the GPU");
}

void Stream::wait() {
  check(cudaStreamSynchronize(state_->stream), "running kernels");
}

std::unique_ptr<Recording> Stream::record(const std::function<void()>& work) {
  use(state_->device.index);  // the thread may be another than that which made the stream
  check(cudaStreamBeginCapture(state_->stream, cudaStreamCaptureModeThreadLocal),
        "recording a graph");
  cudaGraph_t graph = nullptr;
  state_->recording = true;
  state_->may_overlap = false;
  try {
    work();
    state_->recording = false;
  } catch (...) {
    state_->recording = false;
    cudaStreamEndCapture(state_->stream, &graph);
    if (graph != nullptr) cudaGraphDestroy(graph);
    cudaGetLastError();
    throw;
  }
  check(cudaStreamEndCapture(state_->stream, &graph), "recording a graph");
  auto recording = std::make_unique<Recording>();
  const cudaError_t error = cudaGraphInstantiate(&recording->state_->graph, graph, 0);
  cudaGraphDestroy(graph);
  check(error, "preparing a graph");
  return recording;
}

void Stream::replay(const Recording& recording) {
  check(cudaSetDevice(state_->device.index), "choosing the device");
  check(cudaGraphLaunch(recording.state_->graph, state_->stream), "launching a graph");
}

void Stream::mark(Mark point) {
  cudaEvent_t& event = state_->marks[static_cast<int>(point)];
  if (event == nullptr) check(cudaEventCreate(&event), "making an event");
  check(cudaEventRecord(event, state_->stream), "recording an event");
}

double Stream::milliseconds_between_marks() const {
  float milliseconds = 0;
  check(cudaEventElapsedTime(&milliseconds, state_->marks[0], state_->marks[1]),
        "reading the device's clock");
  return milliseconds;
}

void Stream::launch(const void* kernel, int64_t x, int64_t y, int64_t z, int threads,
                    std::size_t shared_bytes, void** arguments) {
  constexpr int64_t kMaxX = INT32_MAX;
  constexpr int64_t kMaxYZ = 65535;
  if (x > kMaxX || y > kMaxYZ || z > kMaxYZ) {
    throw Error("CUDA: a batch of this size needs more blocks than a launch has; split it");
  }
  constexpr std::size_t kAnyKernel = 48 * 1024;  // beyond, a kernel has to ask
  if (shared_bytes > kAnyKernel) {
    check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                               static_cast<int>(shared_bytes)),
          "reserving shared memory");
  }
  const auto extent = [](int64_t value) { return static_cast<unsigned>(value); };
  cudaLaunchConfig_t config = {};
  config.gridDim = {extent(x), extent(y), extent(z)};
  config.blockDim = {extent(threads), 1, 1};
  config.dynamicSmemBytes = shared_bytes;
  config.stream = state_->stream;
  // Kernels wait by themselves for the one before (wait_for_kernel_before), if this says they may
  // begin sooner.
  cudaLaunchAttribute overlap = {};
  overlap.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  overlap.val.programmaticStreamSerializationAllowed = 1;
  config.attrs = &overlap;
  config.numAttrs = state_->may_overlap ? 1 : 0;
  check(cudaLaunchKernelExC(&config, kernel, arguments), "launching a kernel");
  state_->may_overlap = state_->recording && state_->device.code_capability >= kOverlapCapability;
}

Memory::Memory(int device, std::size_t bytes) : device_(device), size_(bytes) {
  use(device);
  void* memory = nullptr;
  check(cudaMalloc(&memory, bytes > 0 ? bytes : 1),
        "allocating " + std::to_string(bytes) + " bytes on the GPU");
  data_ = static_cast<std::byte*>(memory);
}
Memory::~Memory() {
  cudaSetDevice(device_);
  cudaFree(data_);
}

PinnedMemory::PinnedMemory(int device, std::size_t bytes) : size_(bytes) {
  use(device);
  void* memory = nullptr;
  check(cudaMallocHost(&memory, bytes > 0 ? bytes : 1),
        "allocating " + std::to_string(bytes) + " bytes that the GPU can read");
  data_ = static_cast<std::byte*>(memory);
}
PinnedMemory::~PinnedMemory() {
  cudaFreeHost(data_);
}

}  // namespace pyqrt::cuda
