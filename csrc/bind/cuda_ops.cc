// pyqrt._cuda_ops: single kernels on CUDA tensors over DLPack, in the caller's stream. Also
// pyqrt._cuda_emulator_ops, the same on arrays of the host. Arrays are read and written where they
// lie; outputs are the caller's. Checking shapes and ranges is the caller's, too.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <memory>
#include <optional>

#include "bind/without_gil.h"
#include "cuda/kernels.h"
#ifdef PYQRT_CUDA_EMULATOR
#include "cuda/emulator/emulator.h"
#endif

namespace nb = nanobind;

namespace pyqrt::cuda {
namespace {

#ifdef PYQRT_CUDA_EMULATOR
using Where = nb::device::cpu;
#else
using Where = nb::device::cuda;
#endif

// A matrix has any row stride; a vector is dense.
template <class Element>
using Matrix = nb::ndarray<Element, nb::ndim<2>, Where>;
template <class Element>
using Vector = nb::ndarray<Element, nb::ndim<1>, nb::c_contig, Where>;
using AnyMatrix = nb::ndarray<nb::ndim<2>, Where>;
using ConstAnyMatrix = nb::ndarray<nb::ro, nb::ndim<2>, Where>;

template <class Array>
int64_t extent(const Array& array, std::size_t axis) {
  return static_cast<int64_t>(array.shape(axis));
}

// The caller's stream, by its handle: what torch.cuda.Stream.cuda_stream says. 1 is the legacy
// default stream, as in the DLPack protocol.
Stream stream_of(int device, std::uintptr_t handle) {
  return Stream(device, reinterpret_cast<void*>(handle == 0 ? 1 : handle));
}

template <class Element>
const Element* aligned(const Vector<const Element>& array, const char* name) {
  if (reinterpret_cast<std::uintptr_t>(array.data()) % 16 != 0) {
    throw Error(std::string(name) + " must start at a multiple of 16 bytes; copy it");
  }
  return array.data();
}

template <class Polynomial>
const Polynomial& known(const Polynomial* polynomial) {
  if (polynomial == nullptr) throw Error("the polynomials are minimax and ibert");
  return *polynomial;
}

void linear(const ConstAnyMatrix& input,
            const nb::ndarray<const int8_t, nb::c_contig, Where>& weight,
            const Vector<const int32_t>& bias, const Vector<const int32_t>& multiplier,
            const Vector<const int32_t>& shift, int pre_shift, LinearEpilogue epilogue,
            int zero_point, const std::optional<Vector<const int16_t>>& gelu_multiplier,
            int gelu_shift, const std::optional<Matrix<const int16_t>>& residual,
            int residual_multiplier, int residual_shift, AnyMatrix output, TileSize tile,
            std::uintptr_t stream, const std::string& polynomial) {
  LinearArgs args;
  args.m = extent(input, 0);
  args.k = extent(input, 1);
  args.n = extent(output, 1);
  args.input = input.data();
  args.input_type = input.dtype() == nb::dtype<int16_t>() ? DataType::kS16 : DataType::kS8;
  args.input_stride = input.stride(0);
  args.weight = weight.data();
  if (reinterpret_cast<std::uintptr_t>(args.weight) % 16 != 0) {
    throw Error("weight must start at a multiple of 16 bytes; copy it");
  }
  args.bias = aligned(bias, "bias");
  args.multiplier = aligned(multiplier, "multiplier");
  args.shift = aligned(shift, "shift");
  args.pre_shift = pre_shift;
  args.epilogue = epilogue;
  args.zero_point = zero_point;
  args.gelu = known(fixed::gelu_polynomial(polynomial));
  args.gelu_multiplier = gelu_multiplier ? gelu_multiplier->data() : nullptr;
  args.gelu_shift = gelu_shift;
  args.residual = residual ? residual->data() : nullptr;
  args.residual_stride = residual ? residual->stride(0) : 0;
  args.residual_multiplier = residual_multiplier;
  args.residual_shift = residual_shift;
  args.output = output.data();
  args.output_stride = output.stride(0);
  Stream work = stream_of(input.device_id(), stream);
  const WithoutGil release;
  launch_linear(args, nullptr, work, tile);
}

// longest: of the sequences, which only the device can read in `offsets`.
void attention(const Matrix<const int8_t>& query, const Matrix<const int8_t>& key,
               const Matrix<const int8_t>& value, const Vector<const int32_t>& offsets,
               int64_t longest, const Vector<const uint32_t>& score_multiplier,
               const Vector<const int32_t>& output_multiplier,
               const Vector<const int32_t>& output_exponent, int zero_point, Matrix<int8_t> output,
               std::uintptr_t stream, const std::string& polynomial, int64_t window,
               const std::optional<Vector<const int32_t>>& relative_index,
               const std::optional<Matrix<const int32_t>>& relative_bias,
               const std::optional<Matrix<const int8_t>>& relative_key,
               const std::optional<Matrix<const int8_t>>& relative_query, bool global_key,
               bool global_query, const std::optional<Vector<const int32_t>>& ids, int32_t until,
               int32_t after, int64_t block, int64_t block_beyond,
               const std::optional<Vector<const int32_t>>& block_bias) {
  AttentionArgs args;
  args.query = query.data();
  args.key = key.data();
  args.value = value.data();
  args.query_stride = query.stride(0);
  args.key_stride = key.stride(0);
  args.value_stride = value.stride(0);
  args.offsets = offsets.data();
  args.heads = extent(score_multiplier, 0);
  args.head_dim = extent(query, 1) / args.heads;
  args.score_multiplier = score_multiplier.data();
  args.output_multiplier = output_multiplier.data();
  args.output_exponent = output_exponent.data();
  args.zero_point = zero_point;
  args.exponential = known(fixed::exp_polynomial(polynomial));
  args.window = window;
  args.global_key = global_key;
  args.global_query = global_query;
  if (ids) args.ids = ids->data();
  args.until = until;
  args.after = after;
  args.block = block;
  args.block_beyond = block_beyond;
  if (block_bias) args.block_bias = block_bias->data();
  if (relative_index) {
    args.relative_index = relative_index->data();
    args.relative_reach = extent(*relative_index, 0) / 2;
  }
  if (relative_bias) {
    args.relative_bias = relative_bias->data();
    args.relative_rows = extent(*relative_bias, 1);
  }
  if (relative_key) args.relative_key = relative_key->data();
  if (relative_query) args.relative_query = relative_query->data();
  args.output = output.data();
  args.output_stride = output.stride(0);
  Stream work = stream_of(query.device_id(), stream);
  const WithoutGil release;
  launch_attention(args, extent(offsets, 0) - 1, longest, work);
}

template <class Element>
LayerNormOutput<Element> layernorm_output(const std::optional<Matrix<Element>>& output,
                                          const std::optional<Vector<const int16_t>>& gain,
                                          const std::optional<Vector<const int32_t>>& bias,
                                          int shift) {
  if (!output || !gain || !bias) return {};
  return {output->data(), output->stride(0), gain->data(), bias->data(), shift};
}

void layernorm(const Matrix<const int16_t>& input, int64_t epsilon,
               const std::optional<Vector<const int16_t>>& gain8,
               const std::optional<Vector<const int32_t>>& bias8, int shift8,
               const std::optional<Matrix<int8_t>>& output8,
               const std::optional<Vector<const int16_t>>& gain16,
               const std::optional<Vector<const int32_t>>& bias16, int shift16,
               const std::optional<Matrix<int16_t>>& output16, std::uintptr_t stream,
               bool normalize, bool exact_mean) {
  LayerNormArgs args;
  args.n = extent(input, 1);
  args.input = input.data();
  args.input_stride = input.stride(0);
  args.epsilon = epsilon;
  args.normalize = normalize;
  args.exact_mean = exact_mean;
  args.output8 = layernorm_output(output8, gain8, bias8, shift8);
  args.output16 = layernorm_output(output16, gain16, bias16, shift16);
  Stream work = stream_of(input.device_id(), stream);
  const WithoutGil release;
  launch_layernorm(args, extent(input, 0), nullptr, work);
}

void embedding(const std::vector<Matrix<const int8_t>>& tables,
               const std::vector<Vector<const int16_t>>& multipliers,
               const std::vector<Vector<const int32_t>>& indices, int shift, Matrix<int16_t> output,
               std::uintptr_t stream) {
  if (tables.empty() || tables.size() > kMaxEmbeddingTables ||
      multipliers.size() != tables.size() || indices.size() != tables.size()) {
    throw Error("embedding takes 1 to 4 tables, each with its multipliers and indices");
  }
  EmbeddingArgs args;
  args.width = extent(output, 1);
  args.tables = static_cast<int>(tables.size());
  for (std::size_t t = 0; t < tables.size(); ++t) {
    args.table[t] = {tables[t].data(), multipliers[t].data(), indices[t].data()};
  }
  args.shift = shift;
  args.output = output.data();
  args.output_stride = output.stride(0);
  Stream work = stream_of(output.device_id(), stream);
  const WithoutGil release;
  launch_embedding(args, extent(output, 0), nullptr, work);
}

void pool(PoolKind kind, const Matrix<const int16_t>& input, const Vector<const int32_t>& offsets,
          const std::optional<Vector<const int32_t>>& ids, int32_t token, Matrix<int16_t> output,
          std::uintptr_t stream) {
  PoolArgs args;
  args.kind = kind;
  args.width = extent(input, 1);
  args.input = input.data();
  args.input_stride = input.stride(0);
  args.offsets = offsets.data();
  if (ids) args.ids = ids->data();
  args.token = token;
  args.output = output.data();
  args.output_stride = output.stride(0);
  Stream work = stream_of(input.device_id(), stream);
  const WithoutGil release;
  launch_pool(args, extent(output, 0), work);
}

void normalize(const Matrix<const int16_t>& input, Matrix<int32_t> output, std::uintptr_t stream) {
  NormalizeArgs args;
  args.width = extent(input, 1);
  args.input = input.data();
  args.input_stride = input.stride(0);
  args.output = output.data();
  args.output_stride = output.stride(0);
  Stream work = stream_of(input.device_id(), stream);
  const WithoutGil release;
  launch_normalize(args, extent(input, 0), nullptr, work);
}

void lookup(const Matrix<const int16_t>& input, const Vector<const int16_t>& table,
            Matrix<int16_t> output, std::uintptr_t stream) {
  LookupArgs args;
  args.width = extent(input, 1);
  args.input = input.data();
  args.input_stride = input.stride(0);
  args.table = table.data();
  args.output = output.data();
  args.output_stride = output.stride(0);
  Stream work = stream_of(input.device_id(), stream);
  const WithoutGil release;
  launch_lookup(args, extent(input, 0), nullptr, work);
}

#ifdef PYQRT_CUDA_EMULATOR
// Bytes that end, up to 15 of them, where an unreadable page begins.
nb::ndarray<nb::numpy, uint8_t, nb::ndim<1>> guarded(std::size_t bytes) {
  auto memory = std::make_unique<emulator::GuardedMemory>(bytes);
  uint8_t* data = memory->data();
  nb::capsule owner(memory.release(), [](void* pointer) noexcept {
    delete static_cast<emulator::GuardedMemory*>(pointer);
  });
  return {data, {bytes}, owner};
}
#endif

}  // namespace
}  // namespace pyqrt::cuda

NB_MODULE(PYQRT_MODULE, module) {
  using namespace pyqrt::cuda;
  using pyqrt::LinearEpilogue;
  using pyqrt::PoolKind;
  nb::register_exception_translator([](const std::exception_ptr& pointer, void*) {
    try {
      std::rethrow_exception(pointer);
    } catch (const pyqrt::Error& error) {
      PyErr_SetString(nb::module_::import_("pyqrt.errors").attr("ModelError").ptr(), error.what());
    }
  });
  nb::enum_<LinearEpilogue>(module, "LinearEpilogue")
      .value("requantize_s8", LinearEpilogue::kRequantizeS8)
      .value("requantize_s16", LinearEpilogue::kRequantizeS16)
      .value("requantize_s32", LinearEpilogue::kRequantizeS32)
      .value("gelu_s8", LinearEpilogue::kGeluS8)
      .value("gelu_s16", LinearEpilogue::kGeluS16)
      .value("residual_s16", LinearEpilogue::kResidualS16);
  nb::enum_<PoolKind>(module, "PoolKind")
      .value("first", PoolKind::kFirst)
      .value("mean", PoolKind::kMean)
      .value("max", PoolKind::kMax)
      .value("last", PoolKind::kLast)
      .value("token", PoolKind::kToken);
  nb::enum_<TileSize>(module, "TileSize")
      .value("any", TileSize::kAny)
      .value("small", TileSize::kSmall)
      .value("medium", TileSize::kMedium)
      .value("large", TileSize::kLarge)
      .value("warpgroup64", TileSize::kWarpgroup64)
      .value("warpgroup96", TileSize::kWarpgroup96)
      .value("warpgroup192", TileSize::kWarpgroup192)
      .value("warpgroup256", TileSize::kWarpgroup256);
  module.def("linear", &linear, nb::arg("input"), nb::arg("weight"), nb::arg("bias"),
             nb::arg("multiplier"), nb::arg("shift"), nb::arg("pre_shift"), nb::arg("epilogue"),
             nb::arg("zero_point"), nb::arg("gelu_multiplier").none(), nb::arg("gelu_shift"),
             nb::arg("residual").none(), nb::arg("residual_multiplier"), nb::arg("residual_shift"),
             nb::arg("output"), nb::arg("tile"), nb::arg("stream"),
             nb::arg("polynomial") = "minimax");
  module.def("attention", &attention, nb::arg("query"), nb::arg("key"), nb::arg("value"),
             nb::arg("offsets"), nb::arg("longest"), nb::arg("score_multiplier"),
             nb::arg("output_multiplier"), nb::arg("output_exponent"), nb::arg("zero_point"),
             nb::arg("output"), nb::arg("stream"), nb::arg("polynomial") = "minimax",
             nb::arg("window") = -1, nb::arg("relative_index").none() = nb::none(),
             nb::arg("relative_bias").none() = nb::none(),
             nb::arg("relative_key").none() = nb::none(),
             nb::arg("relative_query").none() = nb::none(), nb::arg("global_key") = false,
             nb::arg("global_query") = false, nb::arg("ids").none() = nb::none(),
             nb::arg("until") = -1, nb::arg("after") = -1, nb::arg("block") = 0,
             nb::arg("block_beyond") = 0, nb::arg("block_bias").none() = nb::none());
  module.def("layernorm", &layernorm, nb::arg("input"), nb::arg("epsilon"), nb::arg("gain8").none(),
             nb::arg("bias8").none(), nb::arg("shift8"), nb::arg("output8").none(),
             nb::arg("gain16").none(), nb::arg("bias16").none(), nb::arg("shift16"),
             nb::arg("output16").none(), nb::arg("stream"), nb::arg("normalize") = true,
             nb::arg("exact_mean") = false);
  module.def("embedding", &embedding, nb::arg("tables"), nb::arg("multipliers"), nb::arg("indices"),
             nb::arg("shift"), nb::arg("output"), nb::arg("stream"));
  module.def("pool", &pool, nb::arg("kind"), nb::arg("input"), nb::arg("offsets"),
             nb::arg("ids").none(), nb::arg("token"), nb::arg("output"), nb::arg("stream"));
  module.def("normalize", &normalize, nb::arg("input"), nb::arg("output"), nb::arg("stream"));
  module.def("lookup", &lookup, nb::arg("input"), nb::arg("table"), nb::arg("output"),
             nb::arg("stream"));
#ifdef PYQRT_CUDA_EMULATOR
  module.def("emulate", &emulator::emulate, nb::arg("capability"), nb::arg("order"));
  module.def("guarded", &guarded, nb::arg("bytes"));
#endif
}
