// pyqrt._ops: single kernels over DLPack. Arrays are read and written where they lie; outputs are
// the caller's. pyqrt/ops/ checks shapes and ranges and allocates; nothing here does.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <new>
#include <optional>

#include "bench/peak.h"
#include "bind/without_gil.h"
#include "fixed/fixed.h"
#include "ops/attention/attention.h"
#include "ops/embedding/embedding.h"
#include "ops/gelu/gelu.h"
#include "ops/layernorm/layernorm.h"
#include "ops/linear/linear.h"
#include "ops/linear/linear_paired.h"
#include "ops/lookup/lookup.h"
#include "ops/match/match.h"
#include "ops/multiply/multiply.h"
#include "ops/neighbours/neighbours.h"
#include "ops/normalize/normalize.h"
#include "ops/pool/pool.h"
#include "ops/rotary/rotary.h"
#include "ops/softmax/softmax.h"

namespace nb = nanobind;

namespace pyqrt {
namespace {

// A matrix has any row stride; a vector is dense.
template <class Element>
using Matrix = nb::ndarray<Element, nb::ndim<2>, nb::device::cpu>;
template <class Element>
using Vector = nb::ndarray<Element, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using AnyMatrix = nb::ndarray<nb::ndim<2>, nb::device::cpu>;
using ConstAnyMatrix = nb::ndarray<nb::ro, nb::ndim<2>, nb::device::cpu>;

using Variant = std::optional<std::string>;

template <class Array>
int64_t extent(const Array& array, std::size_t axis) {
  return static_cast<int64_t>(array.shape(axis));
}

// The variant asked for by name, or without a name the one a plan would take.
template <class Function, std::size_t kCount>
const Kernel<Function>& choose_kernel(const char* op,
                                      const std::array<Kernel<Function>, kCount>& list,
                                      const Variant& variant) {
  if (!variant) return select_kernel(list, default_isa());
  std::string here;
  for (const auto& kernel : list) {
    if (!isa_supported(kernel.isa)) continue;
    if (*variant == isa_name(kernel.isa)) return kernel;
    here += (here.empty() ? "" : ", ") + std::string(isa_name(kernel.isa));
  }
  throw Error(std::string(op) + " has no variant '" + *variant +
              "' that this CPU runs; choose one of: " + here);
}
template <class Function, std::size_t kCount>
Function* choose(const char* op, const std::array<Kernel<Function>, kCount>& list,
                 const Variant& variant) {
  return choose_kernel(op, list, variant).run;
}

class Scratch {
 public:
  explicit Scratch(std::size_t bytes)
      : memory_(::operator new(bytes, std::align_val_t{kAlignment})) {}
  ~Scratch() { ::operator delete(memory_, std::align_val_t{kAlignment}); }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  void* get() const { return memory_; }

 private:
  void* memory_;
};

void linear(const ConstAnyMatrix& input, const nb::ndarray<const int8_t, nb::c_contig>& weight,
            const Vector<const int32_t>& weight_sum, const Vector<const int32_t>& bias,
            const Vector<const int32_t>& multiplier, const Vector<const int32_t>& shift,
            int pre_shift, LinearEpilogue epilogue, int zero_point, const std::string& polynomial,
            const std::optional<Vector<const int16_t>>& gelu_multiplier, int gelu_shift,
            const std::optional<Matrix<const int16_t>>& residual, int residual_multiplier,
            int residual_shift, AnyMatrix output, const Variant& variant) {
  LinearArgs args;
  args.m = extent(input, 0);
  args.k = extent(input, 1);
  args.n = extent(output, 1);
  args.input = input.data();
  args.input_type = input.dtype() == nb::dtype<int16_t>() ? DataType::kS16 : DataType::kS8;
  args.input_stride = input.stride(0);
  args.weight = weight.data();
  args.weight_sum = weight_sum.data();
  args.bias = bias.data();
  args.multiplier = multiplier.data();
  args.shift = shift.data();
  args.pre_shift = pre_shift;
  args.epilogue = epilogue;
  args.zero_point = zero_point;
  args.gelu_multiplier = gelu_multiplier ? gelu_multiplier->data() : nullptr;
  args.gelu = *fixed::gelu_polynomial(polynomial);
  args.gelu_shift = gelu_shift;
  args.residual = residual ? residual->data() : nullptr;
  args.residual_stride = residual ? residual->stride(0) : 0;
  args.residual_multiplier = residual_multiplier;
  args.residual_shift = residual_shift;
  args.output = output.data();
  args.output_stride = output.stride(0);
  const Kernel<LinearKernel>& kernel = choose_kernel("linear", kLinearKernels, variant);
  const WithoutGil release;
  const auto paired = pair_weight(kernel.isa, args);
  args.paired = paired.get();
  const Scratch scratch(linear_scratch_bytes(args.k));
  kernel.run(args, Range{0, args.m}, Range{0, ceil_div(args.n, kLinearBlock)}, scratch.get());
}

void attention(const Matrix<const int8_t>& query, const Matrix<const int8_t>& key,
               const Matrix<const int8_t>& value, const Vector<const int32_t>& offsets,
               const Vector<const uint32_t>& score_multiplier,
               const Vector<const int32_t>& output_multiplier,
               const Vector<const int32_t>& output_exponent, int zero_point,
               const std::string& polynomial, int64_t window, bool global_key, bool global_query,
               const std::optional<Vector<const int32_t>>& ids, int32_t until, int32_t after,
               int64_t block, int64_t block_beyond,
               const std::optional<Vector<const int32_t>>& block_bias,
               const std::optional<Vector<const int32_t>>& relative_index,
               const std::optional<Matrix<const int32_t>>& relative_bias,
               const std::optional<Matrix<const int8_t>>& relative_key,
               const std::optional<Matrix<const int8_t>>& relative_query, int64_t relative_rows,
               Matrix<int8_t> output, const Variant& variant) {
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
  args.exponential = *fixed::exp_polynomial(polynomial);
  args.window = window;
  args.global_key = global_key;
  args.global_query = global_query;
  if (ids) args.ids = ids->data();
  args.until = until;
  args.after = after;
  args.block = block;
  args.block_beyond = block_beyond;
  if (block_bias) args.block_bias = block_bias->data();
  args.relative_rows = relative_rows;
  if (relative_index) {
    args.relative_index = relative_index->data();
    args.relative_reach = extent(*relative_index, 0) / 2;
  }
  if (relative_bias) args.relative_bias = relative_bias->data();
  if (relative_key) args.relative_key = relative_key->data();
  if (relative_query) args.relative_query = relative_query->data();
  args.output = output.data();
  args.output_stride = output.stride(0);
  const int64_t sequences = extent(offsets, 0) - 1;
  int64_t longest = 0;
  for (int64_t s = 0; s < sequences; ++s) {
    longest = std::max<int64_t>(longest, args.offsets[s + 1] - args.offsets[s]);
  }
  AttentionKernel* kernel = choose("attention", kAttentionKernels, variant);
  const WithoutGil release;
  const Scratch scratch(attention_scratch_bytes(longest, args.head_dim, relative_rows));
  kernel(args, Range{0, sequences * args.heads}, longest, scratch.get());
}

void softmax(const Matrix<const int32_t>& score, uint32_t multiplier, const std::string& polynomial,
             Matrix<uint8_t> high, Matrix<uint8_t> low, Vector<int32_t> sum,
             const Variant& variant) {
  if (extent(high, 0) > 1 && high.stride(0) != low.stride(0)) {
    throw Error("softmax: high and low must have the same row stride");
  }
  SoftmaxArgs args;
  args.n = extent(score, 1);
  args.score = score.data();
  args.score_stride = score.stride(0);
  args.multiplier = multiplier;
  args.exponential = *fixed::exp_polynomial(polynomial);
  args.high = high.data();
  args.low = low.data();
  args.plane_stride = high.stride(0);
  args.sum = sum.data();
  SoftmaxKernel* kernel = choose("softmax", kSoftmaxKernels, variant);
  const WithoutGil release;
  kernel(args, Range{0, extent(score, 0)});
}

void gelu(const Matrix<const int16_t>& input, const Vector<const int16_t>& multiplier, int shift,
          int zero_point, const std::string& polynomial, Matrix<int8_t> output,
          const Variant& variant) {
  GeluArgs args;
  args.n = extent(input, 1);
  args.input = input.data();
  args.input_stride = input.stride(0);
  args.multiplier = multiplier.data();
  args.shift = shift;
  args.zero_point = zero_point;
  args.polynomial = *fixed::gelu_polynomial(polynomial);
  args.output = output.data();
  args.output_stride = output.stride(0);
  GeluKernel* kernel = choose("gelu", kGeluKernels, variant);
  const WithoutGil release;
  kernel(args, Range{0, extent(input, 0)});
}

template <class Element>
LayerNormOutput<Element> layernorm_output(const std::optional<Matrix<Element>>& output,
                                          const std::optional<Vector<const int16_t>>& gain,
                                          const std::optional<Vector<const int32_t>>& bias,
                                          int shift) {
  if (!output || !gain || !bias) return {};
  return {output->data(), output->stride(0), gain->data(), bias->data(), shift};
}

void layernorm(const Matrix<const int16_t>& input, int64_t epsilon, bool normalize, bool exact_mean,
               const std::optional<Vector<const int16_t>>& gain8,
               const std::optional<Vector<const int32_t>>& bias8, int shift8,
               const std::optional<Matrix<int8_t>>& output8,
               const std::optional<Vector<const int16_t>>& gain16,
               const std::optional<Vector<const int32_t>>& bias16, int shift16,
               const std::optional<Matrix<int16_t>>& output16, const Variant& variant) {
  LayerNormArgs args;
  args.n = extent(input, 1);
  args.input = input.data();
  args.input_stride = input.stride(0);
  args.epsilon = epsilon;
  args.normalize = normalize;
  args.exact_mean = exact_mean;
  args.output8 = layernorm_output(output8, gain8, bias8, shift8);
  args.output16 = layernorm_output(output16, gain16, bias16, shift16);
  LayerNormKernel* kernel = choose("layernorm", kLayerNormKernels, variant);
  const WithoutGil release;
  kernel(args, Range{0, extent(input, 0)});
}

void embedding(const std::vector<Matrix<const int8_t>>& data,
               const std::vector<Vector<const int16_t>>& multiplier,
               const std::vector<Vector<const int32_t>>& index, int shift, Matrix<int16_t> output,
               const Variant& variant) {
  if (data.size() > kMaxEmbeddingTables || multiplier.size() != data.size() ||
      index.size() != data.size()) {
    throw Error("embedding: give every table, at most " + std::to_string(kMaxEmbeddingTables) +
                ", one multiplier and one index array");
  }
  EmbeddingArgs args;
  args.width = extent(output, 1);
  args.tables = static_cast<int>(data.size());
  for (std::size_t t = 0; t < data.size(); ++t) {
    args.table[t] = {data[t].data(), multiplier[t].data(), index[t].data()};
  }
  args.shift = shift;
  args.output = output.data();
  args.output_stride = output.stride(0);
  EmbeddingKernel* kernel = choose("embedding", kEmbeddingKernels, variant);
  const WithoutGil release;
  kernel(args, Range{0, extent(output, 0)});
}

void pool(const Matrix<const int16_t>& input, const Vector<const int32_t>& offsets, PoolKind kind,
          const std::optional<Vector<const int32_t>>& ids, int32_t token, Matrix<int16_t> output,
          const Variant& variant) {
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
  PoolKernel* kernel = choose("pool", kPoolKernels, variant);
  const WithoutGil release;
  kernel(args, Range{0, extent(offsets, 0) - 1});
}

void normalize(const Matrix<const int16_t>& input, Matrix<int32_t> output, const Variant& variant) {
  NormalizeArgs args;
  args.width = extent(input, 1);
  args.input = input.data();
  args.input_stride = input.stride(0);
  args.output = output.data();
  args.output_stride = output.stride(0);
  NormalizeKernel* kernel = choose("normalize", kNormalizeKernels, variant);
  const WithoutGil release;
  kernel(args, Range{0, extent(input, 0)});
}

void rotary(const Matrix<const int16_t>& input, const Vector<const int32_t>& position,
            const Matrix<const int16_t>& cosine, const Matrix<const int16_t>& sine,
            int64_t head_dim, int shift, Matrix<int8_t> output, const Variant& variant) {
  RotaryArgs args;
  args.heads = extent(input, 1) / head_dim;
  args.head_dim = head_dim;
  args.rotated = 2 * extent(cosine, 1);
  args.shift = shift;
  args.position = position.data();
  args.cosine = cosine.data();
  args.sine = sine.data();
  args.input = input.data();
  args.input_stride = input.stride(0);
  args.output = output.data();
  args.output_stride = output.stride(0);
  RotaryKernel* kernel = choose("rotary", kRotaryKernels, variant);
  const WithoutGil release;
  kernel(args, Range{0, extent(input, 0)});
}

void multiply(const Matrix<const int16_t>& a, const Matrix<const int16_t>& b,
              const Vector<const int32_t>& multiplier, const Vector<const int32_t>& shift,
              int zero_point, const std::optional<Matrix<int8_t>>& output8,
              const std::optional<Matrix<int16_t>>& output16, const Variant& variant) {
  MultiplyArgs args;
  args.width = extent(a, 1);
  args.a = a.data();
  args.a_stride = a.stride(0);
  args.b = b.data();
  args.b_stride = b.stride(0);
  args.multiplier = multiplier.data();
  args.shift = shift.data();
  args.zero_point = zero_point;
  if (output8) args.output8 = output8->data();
  if (output16) args.output16 = output16->data();
  args.output_stride = output8 ? output8->stride(0) : output16->stride(0);
  MultiplyKernel* kernel = choose("multiply", kMultiplyKernels, variant);
  const WithoutGil release;
  kernel(args, Range{0, extent(a, 0)});
}

void neighbours(const Matrix<const int16_t>& input, const Vector<const int32_t>& offsets,
                int64_t reach, Matrix<int16_t> output, const Variant& variant) {
  NeighboursArgs args;
  args.width = extent(input, 1);
  args.reach = reach;
  args.input = input.data();
  args.input_stride = input.stride(0);
  args.offsets = offsets.data();
  args.output = output.data();
  args.output_stride = output.stride(0);
  NeighboursKernel* kernel = choose("neighbours", kNeighboursKernels, variant);
  const WithoutGil release;
  kernel(args, Range{0, extent(offsets, 0) - 1});
}

void match(const Matrix<const int16_t>& tokens, const Matrix<const int16_t>& rows,
           const Vector<const int32_t>& offsets, int shift, Matrix<int32_t> output,
           const Variant& variant) {
  MatchArgs args;
  args.width = extent(tokens, 1);
  args.token = tokens.data();
  args.token_stride = tokens.stride(0);
  args.row = rows.data();
  args.row_stride = rows.stride(0);
  args.offsets = offsets.data();
  args.shift = shift;
  args.output = output.data();
  args.output_stride = output.stride(0);
  MatchKernel* kernel = choose("match", kMatchKernels, variant);
  const WithoutGil release;
  kernel(args, Range{0, extent(offsets, 0) - 1});
}

void lookup(const Matrix<const int16_t>& input, const Vector<const int16_t>& table,
            Matrix<int16_t> output, const Variant& variant) {
  LookupArgs args;
  args.width = extent(input, 1);
  args.input = input.data();
  args.input_stride = input.stride(0);
  args.table = table.data();
  args.output = output.data();
  args.output_stride = output.stride(0);
  LookupKernel* kernel = choose("lookup", kLookupKernels, variant);
  const WithoutGil release;
  kernel(args, Range{0, extent(input, 0)});
}

// One function of csrc/fixed over every element of dense vectors.
template <class Result, class Function, class... Elements>
void map_elements(const Function& function, Vector<Result>& output,
                  const Vector<Elements>&... inputs) {
  const WithoutGil release;
  for (std::size_t i = 0; i < output.shape(0); ++i) {
    output.data()[i] = static_cast<Result>(function(inputs.data()[i]...));
  }
}

void requantize(const Vector<const int32_t>& acc, const Vector<const int32_t>& multiplier,
                const Vector<const int32_t>& shift, Vector<int32_t> output) {
  map_elements(fixed::requantize, output, acc, multiplier, shift);
}

void exp2_neg(const Vector<const uint16_t>& u, const std::string& polynomial,
              Vector<int16_t> output) {
  const fixed::ExpPolynomial& c = *fixed::exp_polynomial(polynomial);
  map_elements([&c](uint32_t value) { return fixed::exp2_neg(value, c); }, output, u);
}

void gelu_q10(const Vector<const int16_t>& z, const std::string& polynomial,
              Vector<int16_t> output) {
  const fixed::GeluPolynomial& c = *fixed::gelu_polynomial(polynomial);
  map_elements([&c](int32_t value) { return fixed::gelu(value, c); }, output, z);
}

void isqrt(const Vector<const uint64_t>& value, Vector<uint64_t> output) {
  map_elements(fixed::isqrt, output, value);
}

// The peak of an instruction set, or of the next one below that has one of its own.
Isa peak_isa(const Variant& variant) {
  return variant ? resolve_isa(*variant) : default_isa();
}

int64_t multiply_accumulate(int64_t steps, const Variant& variant) {
  const auto kernel = select_kernel(kMultiplyAccumulateKernels, peak_isa(variant)).run;
  const WithoutGil release;
  kernel(steps);
  return steps * kPeakStepMacs;
}

int64_t read_memory(const Vector<const uint8_t>& data, int64_t times, const Variant& variant) {
  const auto kernel = select_kernel(kReadKernels, peak_isa(variant)).run;
  const WithoutGil release;
  const int64_t bytes = extent(data, 0) / kReadStep * kReadStep;
  for (int64_t i = 0; i < times; ++i) kernel(data.data(), bytes);
  return times * bytes;
}

template <class Function, std::size_t kCount>
nb::list names_of(const std::array<Kernel<Function>, kCount>& list) {
  nb::list names;
  for (const auto& kernel : list) names.append(isa_name(kernel.isa));
  return names;
}

nb::dict kernels() {
  nb::dict ops;
  ops["linear"] = names_of(kLinearKernels);
  ops["attention"] = names_of(kAttentionKernels);
  ops["softmax"] = names_of(kSoftmaxKernels);
  ops["gelu"] = names_of(kGeluKernels);
  ops["layernorm"] = names_of(kLayerNormKernels);
  ops["embedding"] = names_of(kEmbeddingKernels);
  ops["pool"] = names_of(kPoolKernels);
  ops["normalize"] = names_of(kNormalizeKernels);
  ops["lookup"] = names_of(kLookupKernels);
  ops["rotary"] = names_of(kRotaryKernels);
  ops["multiply"] = names_of(kMultiplyKernels);
  ops["neighbours"] = names_of(kNeighboursKernels);
  ops["match"] = names_of(kMatchKernels);
  return ops;
}

void raise_as_model_error(const std::exception_ptr& pointer, void*) {
  try {
    std::rethrow_exception(pointer);
  } catch (const Error& error) {
    const nb::object type = nb::module_::import_("pyqrt.errors").attr("ModelError");
    PyErr_SetString(type.ptr(), error.what());
  }
}

// An array is never converted: a converted input would be a hidden copy, a converted output lost.
auto array(const char* name) {
  return nb::arg(name).noconvert();
}

void register_kernels(nb::module_& module) {
  module.def("linear", &linear, array("input"), array("weight"), array("weight_sum"), array("bias"),
             array("multiplier"), array("shift"), nb::arg("pre_shift"), nb::arg("epilogue"),
             nb::arg("zero_point"), nb::arg("polynomial"), array("gelu_multiplier").none(),
             nb::arg("gelu_shift"), array("residual").none(), nb::arg("residual_multiplier"),
             nb::arg("residual_shift"), array("output"), nb::arg("variant") = nb::none());
  module.def("attention", &attention, array("query"), array("key"), array("value"),
             array("offsets"), array("score_multiplier"), array("output_multiplier"),
             array("output_exponent"), nb::arg("zero_point"), nb::arg("polynomial"),
             nb::arg("window"), nb::arg("global_key"), nb::arg("global_query"), array("ids").none(),
             nb::arg("until"), nb::arg("after"), nb::arg("block"), nb::arg("block_beyond"),
             array("block_bias").none(), array("relative_index").none(),
             array("relative_bias").none(), array("relative_key").none(),
             array("relative_query").none(), nb::arg("relative_rows"), array("output"),
             nb::arg("variant") = nb::none());
  module.def("softmax", &softmax, array("score"), nb::arg("multiplier"), nb::arg("polynomial"),
             array("high"), array("low"), array("sum"), nb::arg("variant") = nb::none());
  module.def("gelu", &gelu, array("input"), array("multiplier"), nb::arg("shift"),
             nb::arg("zero_point"), nb::arg("polynomial"), array("output"),
             nb::arg("variant") = nb::none());
  module.def("layernorm", &layernorm, array("input"), nb::arg("epsilon"), nb::arg("normalize"),
             nb::arg("exact_mean"), array("gain8").none(), array("bias8").none(), nb::arg("shift8"),
             array("output8").none(), array("gain16").none(), array("bias16").none(),
             nb::arg("shift16"), array("output16").none(), nb::arg("variant") = nb::none());
  module.def("embedding", &embedding, array("data"), array("multiplier"), array("index"),
             nb::arg("shift"), array("output"), nb::arg("variant") = nb::none());
  module.def("pool", &pool, array("input"), array("offsets"), nb::arg("kind"), array("ids").none(),
             nb::arg("token"), array("output"), nb::arg("variant") = nb::none());
  module.def("normalize", &normalize, array("input"), array("output"),
             nb::arg("variant") = nb::none());
  module.def("rotary", &rotary, array("input"), array("position"), array("cosine"), array("sine"),
             nb::arg("head_dim"), nb::arg("shift"), array("output"),
             nb::arg("variant") = nb::none());
  module.def("multiply", &multiply, array("a"), array("b"), array("multiplier"), array("shift"),
             nb::arg("zero_point"), array("output8").none(), array("output16").none(),
             nb::arg("variant") = nb::none());
  module.def("neighbours", &neighbours, array("input"), array("offsets"), nb::arg("reach"),
             array("output"), nb::arg("variant") = nb::none());
  module.def("match", &match, array("tokens"), array("rows"), array("offsets"), nb::arg("shift"),
             array("output"), nb::arg("variant") = nb::none());
  module.def("lookup", &lookup, array("input"), array("table"), array("output"),
             nb::arg("variant") = nb::none());
}

void register_peak(nb::module_& module) {
  module.def("multiply_accumulate", &multiply_accumulate, nb::arg("steps"),
             nb::arg("variant") = nb::none(),
             "Multiply-accumulates of bytes in registers, as fast as they go; returns how many.");
  module.def("read_memory", &read_memory, array("data"), nb::arg("times"),
             nb::arg("variant") = nb::none(),
             "Loads every whole 256 bytes of `data`, `times` times; returns how many bytes.");
}

void register_arithmetic(nb::module_& module) {
  module.def("requantize", &requantize, array("acc"), array("multiplier"), array("shift"),
             array("output"));
  module.def("exp2_neg", &exp2_neg, array("u"), nb::arg("polynomial"), array("output"));
  module.def("gelu_q10", &gelu_q10, array("z"), nb::arg("polynomial"), array("output"));
  module.def("isqrt", &isqrt, array("value"), array("output"));
}

}  // namespace
}  // namespace pyqrt

NB_MODULE(_ops, module) {
  using namespace pyqrt;
  module.doc() = "Single integer kernels over arrays. Unchecked: pyqrt.ops is the public API.";
  nb::register_exception_translator(raise_as_model_error);

  nb::enum_<LinearEpilogue>(module, "LinearEpilogue", "What follows on linear's accumulator.")
      .value("requantize_s8", LinearEpilogue::kRequantizeS8)
      .value("requantize_s16", LinearEpilogue::kRequantizeS16)
      .value("requantize_s32", LinearEpilogue::kRequantizeS32)
      .value("gelu_s8", LinearEpilogue::kGeluS8)
      .value("gelu_s16", LinearEpilogue::kGeluS16)
      .value("residual_s16", LinearEpilogue::kResidualS16);
  nb::enum_<PoolKind>(module, "PoolKind", "How pool makes one row of many.")
      .value("first", PoolKind::kFirst)
      .value("mean", PoolKind::kMean)
      .value("max", PoolKind::kMax)
      .value("last", PoolKind::kLast)
      .value("token", PoolKind::kToken);

  register_kernels(module);
  register_arithmetic(module);
  register_peak(module);

  module.def("kernels", &kernels, nb::sig("def kernels() -> dict[str, list[str]]"),
             "Variants of every op in this build, best first.");
}
