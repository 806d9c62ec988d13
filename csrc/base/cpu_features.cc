#include "base/cpu_features.h"

#include <cstdlib>

#if defined(PYQRT_X86)
#include <cpuid.h>
#elif defined(PYQRT_AARCH64) && defined(__linux__)
#include <sys/auxv.h>
#elif defined(PYQRT_AARCH64) && defined(__APPLE__)
#include <sys/sysctl.h>
#endif

namespace pyqrt {
namespace {

#if defined(PYQRT_X86)
// What the CPU has (Intel SDM, volume 2, CPUID) and whose registers the operating system saves
// (volume 1, 13.3, XCR0). Asked here and not by __builtin_cpu_supports, which needs a part of the
// compiler's runtime library that not every toolchain links.
struct X86Features {
  bool avx2 = false;
  bool avx_vnni = false;
  bool avx512_vnni = false;  // with F, BW, DQ and VL
};

bool has_all(unsigned word, unsigned bits) {
  return (word & bits) == bits;
}

X86Features read_x86_features() {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx) || !has_all(ecx, bit_OSXSAVE)) return {};
  unsigned saved = 0, saved_high = 0;
  asm("xgetbv" : "=a"(saved), "=d"(saved_high) : "c"(0));
  constexpr unsigned kYmm = 0x06, kZmm = 0xe6;  // XMM and YMM; also masks and all of ZMM
  if (!has_all(saved, kYmm) || !__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx)) return {};
  const unsigned subleaves = eax;
  X86Features found;
  found.avx2 = has_all(ebx, bit_AVX2);
  found.avx512_vnni = has_all(saved, kZmm) && has_all(ecx, bit_AVX512VNNI) &&
                      has_all(ebx, bit_AVX512F | bit_AVX512BW | bit_AVX512DQ | bit_AVX512VL);
  if (found.avx2 && subleaves >= 1 && __get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx)) {
    found.avx_vnni = has_all(eax, bit_AVXVNNI);
  }
  return found;
}

const X86Features& x86_features() {
  static const X86Features features = read_x86_features();  // virtual machines are slow to answer
  return features;
}
#endif

#if defined(PYQRT_AARCH64)
// Armv8.2 dot product and Armv8.6 int8 matrix products, as the operating system reports them; an
// unknown one reports nothing, and base NEON runs. The bits are the kernel's (asm/hwcap.h, which
// older C libraries do not repeat in full).
struct ArmFeatures {
  bool dot_product = false;
  bool matrix_products = false;
};

ArmFeatures arm_features() {
#if defined(__linux__)
  constexpr unsigned long kAsimdDp = 1ul << 20;  // of AT_HWCAP
  constexpr unsigned long kI8mm = 1ul << 13;     // of AT_HWCAP2
  return {(getauxval(AT_HWCAP) & kAsimdDp) != 0, (getauxval(AT_HWCAP2) & kI8mm) != 0};
#elif defined(__APPLE__)
  const auto has = [](const char* name) {
    int value = 0;
    std::size_t bytes = sizeof value;
    return sysctlbyname(name, &value, &bytes, nullptr, 0) == 0 && value != 0;
  };
  return {has("hw.optional.arm.FEAT_DotProd"), has("hw.optional.arm.FEAT_I8MM")};
#else
  return {};
#endif
}
#endif

bool runs_here(Isa isa) {
  switch (isa) {
    case Isa::kReference:
      return true;
#if defined(PYQRT_X86)
    case Isa::kAvx2:
      return x86_features().avx2;
    case Isa::kAvxVnni:
      return x86_features().avx_vnni;
    case Isa::kAvx512Vnni256:
    case Isa::kAvx512Vnni:
      return x86_features().avx512_vnni;
#elif defined(PYQRT_AARCH64)
    case Isa::kNeon:  // every AArch64 CPU
      return true;
    case Isa::kNeonDot:
      return arm_features().dot_product;
    case Isa::kNeonI8mm:
      return arm_features().dot_product && arm_features().matrix_products;
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
    case Isa::kNeon:
      return "neon";
    case Isa::kNeonDot:
      return "neondot";
    case Isa::kNeonI8mm:
      return "neoni8mm";
    case Isa::kReference:
      break;
  }
  return "reference";
}

bool isa_compiled(Isa isa) {
  if (isa == Isa::kReference) return true;
#if defined(PYQRT_X86)
  return isa < Isa::kNeon;
#elif defined(PYQRT_AARCH64)
  return isa >= Isa::kNeon;
#else
  return false;
#endif
}

bool isa_supported(Isa isa) {
  return isa_compiled(isa) && runs_here(isa);
}

std::vector<Isa> all_isas() {
  return {Isa::kAvx512Vnni, Isa::kAvx512Vnni256, Isa::kAvxVnni, Isa::kAvx2,
          Isa::kNeonI8mm,   Isa::kNeonDot,       Isa::kNeon,    Isa::kReference};
}

Isa resolve_isa(const std::string& name) {
  return resolve(name, "");
}

Isa default_isa() {
  const char* wish = std::getenv("PYQRT_FORCE_ISA");
  return resolve(wish ? wish : "", "PYQRT_FORCE_ISA: ");
}

}  // namespace pyqrt
