// What the benchmarks of the ops share: one thread, data made once, every variant that this CPU
// runs under a name of its own, and the machine's peak to hold a rate against.
//
// Names are op/variant/shape/rows. Rows are tokens: 1, 16, 128.
#pragma once

#include <benchmark/benchmark.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <limits>
#include <new>
#include <random>
#include <string>
#include <vector>

#include "base/dispatch.h"
#include "bench/peak.h"

namespace pyqrt::bench {

inline constexpr int64_t kRows[] = {1, 16, 128};

struct Encoder {
  const char* name;
  int64_t hidden;
  int64_t intermediate;
  int64_t heads;
  int64_t head_dim;
  int64_t vocabulary;
};
inline constexpr Encoder kEncoders[] = {{"bert_base", 768, 3072, 12, 64, 30522},
                                        {"minilm", 384, 1536, 12, 32, 30522}};

// Every array starts on a cache line, as tensors and buffers do in a plan.
template <class Element>
struct AlignedAllocator {
  using value_type = Element;
  AlignedAllocator() = default;
  template <class Other>
  AlignedAllocator(const AlignedAllocator<Other>&) {}
  Element* allocate(std::size_t count) {
    return static_cast<Element*>(
        ::operator new(count * sizeof(Element), std::align_val_t{kAlignment}));
  }
  void deallocate(Element* pointer, std::size_t) {
    ::operator delete(pointer, std::align_val_t{kAlignment});
  }
  bool operator==(const AlignedAllocator&) const { return true; }
  bool operator!=(const AlignedAllocator&) const { return false; }
};
template <class Element>
using Array = std::vector<Element, AlignedAllocator<Element>>;

template <class Element>
Array<Element> filled(int64_t count, Element value) {
  return Array<Element>(static_cast<std::size_t>(count), value);
}

// Elements in [low, high], the same each time.
template <class Element>
Array<Element> random_values(int64_t count, int64_t low, int64_t high) {
  std::minstd_rand random(1);
  std::uniform_int_distribution<int64_t> draw(low, high);
  Array<Element> values = filled<Element>(count, 0);
  for (Element& value : values) value = static_cast<Element>(draw(random));
  return values;
}

// Multiply-accumulates a second of `isa`, the best of some 10 ms runs; measured once.
inline double peak_rate(Isa isa) {
  static std::array<double, 16> known{};
  double& rate = known.at(static_cast<std::size_t>(isa));
  if (rate > 0) return rate;
  using Clock = std::chrono::steady_clock;
  const auto kernel = select_kernel(kMultiplyAccumulateKernels, isa).run;
  const auto seconds = [&](int64_t steps) {
    const auto start = Clock::now();
    benchmark::DoNotOptimize(kernel(steps));
    return std::chrono::duration<double>(Clock::now() - start).count();
  };
  int64_t steps = 1;
  while (seconds(steps) < 0.01) steps *= 2;
  double best = std::numeric_limits<double>::infinity();
  for (int run = 0; run < 20; ++run) best = std::min(best, seconds(steps));
  rate = static_cast<double>(steps * kPeakStepMacs) / best;
  return rate;
}

// Times run(), which covers `rows` rows: items_per_second counts them.
template <class Run>
void time_rows(benchmark::State& state, int64_t rows, const Run& run) {
  for (auto _ : state) {
    run();
    benchmark::ClobberMemory();
  }
  state.SetItemsProcessed(state.iterations() * rows);
}

// MACs: multiply-accumulates a second. of_peak: that, as a fraction of the peak of `isa`.
inline void count_macs(benchmark::State& state, Isa isa, int64_t macs) {
  using benchmark::Counter;
  const auto done = static_cast<double>(macs);
  const auto each = Counter::kIsIterationInvariantRate;
  state.counters["MACs"] = Counter(done, each);
  state.counters["of_peak"] = Counter(done / peak_rate(isa), each);
}

// Registers measure(state, kernel) for every variant of `list` that this CPU runs.
template <class Function, std::size_t kCount, class Measure>
void register_variants(const std::string& op, const std::string& shape, int64_t rows,
                       const std::array<Kernel<Function>, kCount>& list, Measure measure) {
  for (const Kernel<Function>& kernel : list) {
    if (!isa_supported(kernel.isa)) continue;
    const std::string name =
        op + "/" + isa_name(kernel.isa) + "/" + shape + "/" + std::to_string(rows);
    benchmark::RegisterBenchmark(
        name.c_str(), [measure, kernel](benchmark::State& state) { measure(state, kernel); });
  }
}

// For static initialization: calls register_shape(encoder, rows) for every encoder and row count.
template <class RegisterShape>
bool for_shapes(RegisterShape register_shape) {
  for (const Encoder& encoder : kEncoders) {
    for (const int64_t rows : kRows) register_shape(encoder, rows);
  }
  return true;
}

// The same for an op with one shape per encoder: registers measure(state, kernel, encoder, rows).
template <class Function, std::size_t kCount, class Measure>
bool register_op(const std::string& op, const std::array<Kernel<Function>, kCount>& list,
                 Measure measure) {
  return for_shapes([&](const Encoder& encoder, int64_t rows) {
    register_variants(op, encoder.name, rows, list,
                      [=](benchmark::State& state, const Kernel<Function>& kernel) {
                        measure(state, kernel, encoder, rows);
                      });
  });
}

}  // namespace pyqrt::bench
