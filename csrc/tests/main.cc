// pyqrt_tests [LEVEL]: every variant of every op against the reference, on this CPU or under an
// emulator. With LEVEL, the instruction set that this CPU must support best ("neondot"): so a run
// that was meant for one and found another fails.
//
// pyqrt_tests --emulate-avxvnni: likewise, and AVX-VNNI's variants too, on a CPU with AVX2 that
// lacks it.
//
// Prints how many cases each variant passed. Exit status: 0 all equal; 1 a difference, a variant
// that did not run, or another CPU than asked for.
#include <cstdio>
#include <map>

#include "ops/attention/attention.h"
#include "ops/embedding/embedding.h"
#include "ops/gelu/gelu.h"
#include "ops/layernorm/layernorm.h"
#include "ops/linear/linear.h"
#include "ops/lookup/lookup.h"
#include "ops/match/match.h"
#include "ops/multiply/multiply.h"
#include "ops/neighbours/neighbours.h"
#include "ops/normalize/normalize.h"
#include "ops/pool/pool.h"
#include "ops/rotary/rotary.h"
#include "ops/softmax/softmax.h"
#include "tests/avxvnni_by_signals.h"
#include "tests/harness.h"

namespace pyqrt::test {
namespace {

std::map<std::string, std::map<Isa, int>> ran;
int failures = 0;
bool avxvnni_is_emulated = false;

// Prints a line for `op`; false when a variant of the list that can run was left out.
template <class Function, std::size_t kCount>
bool account(const char* op, const std::array<Kernel<Function>, kCount>& list) {
  bool complete = true;
  std::printf("%-10s", op);
  for (const auto& kernel : list) {
    if (!can_run(kernel.isa)) continue;
    const int cases = ran[op][kernel.isa];
    std::printf("  %s %d", isa_name(kernel.isa), cases);
    complete = complete && cases > 0;
  }
  std::printf(complete ? "\n" : "  LEFT OUT\n");
  return complete;
}

bool run(const std::string& level) {
  const Isa best = resolve_isa("");
  std::printf("best instruction set here: %s\n", isa_name(best));
  if (level == "--emulate-avxvnni") {
    avxvnni_is_emulated = emulate_avxvnni();
    if (!avxvnni_is_emulated) {
      std::printf("FAILED: AVX-VNNI cannot or need not be emulated here\n");
      return false;
    }
  } else if (!level.empty() && level != isa_name(best)) {
    std::printf("FAILED: this run was meant for %s\n", level.c_str());
    return false;
  }
  test_attention(100);
  test_embedding(60);
  test_gelu(60);
  test_layernorm(100);
  test_linear(800);
  test_lookup(60);
  test_match(20);
  test_multiply(100);
  test_neighbours(20);
  test_normalize(60);
  test_pool(60);
  test_rotary(100);
  test_softmax(100);
  bool complete = true;
  complete &= account("attention", kAttentionKernels);
  complete &= account("embedding", kEmbeddingKernels);
  complete &= account("gelu", kGeluKernels);
  complete &= account("layernorm", kLayerNormKernels);
  complete &= account("linear", kLinearKernels);
  complete &= account("lookup", kLookupKernels);
  complete &= account("match", kMatchKernels);
  complete &= account("multiply", kMultiplyKernels);
  complete &= account("neighbours", kNeighboursKernels);
  complete &= account("normalize", kNormalizeKernels);
  complete &= account("pool", kPoolKernels);
  complete &= account("rotary", kRotaryKernels);
  complete &= account("softmax", kSoftmaxKernels);
  std::printf("%d differences\n", failures);
  if (avxvnni_is_emulated) {
    const int64_t count = emulated_instructions();
    std::printf("%lld instructions of AVX-VNNI emulated\n", static_cast<long long>(count));
    complete &= count > 0;
  }
  return complete && failures == 0;
}

}  // namespace

bool can_run(Isa isa) {
  return isa_supported(isa) || (isa == Isa::kAvxVnni && avxvnni_is_emulated);
}

void note_case(const std::string& op, Isa isa) {
  ++ran[op][isa];
}

void note_failure(const std::string& op, Isa isa, const std::string& what) {
  constexpr int kShown = 20;
  if (++failures <= kShown) {
    std::printf("FAILED %s %s: %s\n", op.c_str(), isa_name(isa), what.c_str());
  }
}

}  // namespace pyqrt::test

int main(int count, char** arguments) {
  return pyqrt::test::run(count > 1 ? arguments[1] : "") ? 0 : 1;
}
