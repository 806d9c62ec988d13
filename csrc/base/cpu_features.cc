#include "base/cpu_features.h"

#include <cstdlib>

#if defined(PYQRT_X86)
#include <cpuid.h>
#endif

namespace pyqrt {
namespace {

#if defined(PYQRT_X86)
// AVX-VNNI: CPUID leaf 7, subleaf 1, EAX bit 4 (Intel SDM, volume 2, CPUID). Compilers older than
// GCC 13 have no name for it in __builtin_cpu_supports. It uses the registers of AVX2, no others.
bool has_avx_vnni() {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  if (!__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) || eax < 1) return false;  // eax: subleaves
  return __get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx) && (eax >> 4 & 1) != 0;
}
#endif

// What the CPU has and the operating system saves: __builtin_cpu_supports reads CPUID and XCR0.
bool runs_here(Isa isa) {
  switch (isa) {
    case Isa::kReference:
      return true;
#if defined(PYQRT_X86)
    case Isa::kAvx2:
      return __builtin_cpu_supports("avx2");
    case Isa::kAvxVnni:
      return __builtin_cpu_supports("avx2") && has_avx_vnni();
    case Isa::kAvx512Vnni256:
    case Isa::kAvx512Vnni:
      return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
             __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
             __builtin_cpu_supports("avx512vnni");
#endif
    default:
      return false;
  }
}

using Predicate = bool (*)(Isa);

std::string names_of(Predicate wanted) {
  std::string names;
  for (Isa isa : all_isas()) {
    if (wanted(isa)) names += (names.empty() ? "" : ", ") + std::string(isa_name(isa));
  }
  return names;
}

// `source` begins the message: where the wish came from.
Isa resolve(const std::string& name, const std::string& source) {
  if (name.empty()) {
    for (Isa isa : all_isas()) {
      if (isa_supported(isa)) return isa;
    }
  }
  const std::string choice = "; choose one of those supported here: " + names_of(isa_supported);
  for (Isa isa : all_isas()) {
    if (name != isa_name(isa)) continue;
    if (isa_supported(isa)) return isa;
    throw Error(source + "instruction set '" + name + "' " +
                (isa_compiled(isa) ? "is not supported by this CPU and operating system"
                                   : "is not in this build") +
                choice);
  }
  throw Error(source + "unknown instruction set '" + name +
              "'; known: " + names_of([](Isa) { return true; }) + choice);
}

}  // namespace

const char* isa_name(Isa isa) {
  switch (isa) {
    case Isa::kAvx2:
      return "avx2";
    case Isa::kAvxVnni:
      return "avxvnni";
    case Isa::kAvx512Vnni256:
      return "avx512vnni256";
    case Isa::kAvx512Vnni:
      return "avx512vnni";
    case Isa::kReference:
      break;
  }
  return "reference";
}

bool isa_compiled(Isa isa) {
#if defined(PYQRT_X86)
  constexpr bool kX86 = true;
#else
  constexpr bool kX86 = false;
#endif
  return kX86 || isa == Isa::kReference;
}

bool isa_supported(Isa isa) {
  return isa_compiled(isa) && runs_here(isa);
}

std::vector<Isa> all_isas() {
  return {Isa::kAvx512Vnni, Isa::kAvx512Vnni256, Isa::kAvxVnni, Isa::kAvx2, Isa::kReference};
}

Isa resolve_isa(const std::string& name) {
  return resolve(name, "");
}

Isa default_isa() {
  const char* wish = std::getenv("PYQRT_FORCE_ISA");
  return resolve(wish ? wish : "", "PYQRT_FORCE_ISA: ");
}

}  // namespace pyqrt
