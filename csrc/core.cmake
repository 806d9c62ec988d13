# pyqrt_core: the whole of C++ but the bindings. Sources are found by their names, so that adding
# an op, a node or a variant touches no build file.
find_package(Threads REQUIRED)

# What every source of pyqrt is compiled with.
add_library(pyqrt_options INTERFACE)
target_include_directories(pyqrt_options INTERFACE ${CMAKE_CURRENT_LIST_DIR})
target_compile_options(
  pyqrt_options
  INTERFACE
    $<$<COMPILE_LANGUAGE:CXX>:-Wall -Wextra -Wshadow $<$<BOOL:${PYQRT_WERROR}>:-Werror>
    -ffp-contract=off>)

# Variants by the suffix of their files: csrc/ops/<op>/<op>_<suffix>.cc. The only place that maps
# an instruction set to compiler flags.
set(x86_variants avx2 avxvnni avx512vnni256 avx512vnni)
set(aarch64_variants neon neondot neoni8mm)
set(flags_avx2 -mavx2)
set(flags_avxvnni -mavx2 -mavxvnni)
set(flags_avx512vnni -mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx512vnni)
set(flags_avx512vnni256 ${flags_avx512vnni} -mprefer-vector-width=256)
set(flags_neondot -march=armv8.2-a+dotprod)
set(flags_neoni8mm -march=armv8.2-a+dotprod+i8mm)
set(variants)
if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64|amd64)$")
  target_compile_definitions(pyqrt_options INTERFACE PYQRT_X86)
  set(variants ${x86_variants})
elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "^(aarch64|arm64|ARM64)$")
  target_compile_definitions(pyqrt_options INTERFACE PYQRT_AARCH64)
  set(variants ${aarch64_variants})
endif()

file(
  GLOB_RECURSE core_sources CONFIGURE_DEPENDS
  ${CMAKE_CURRENT_LIST_DIR}/base/*.cc ${CMAKE_CURRENT_LIST_DIR}/fixed/*.cc
  ${CMAKE_CURRENT_LIST_DIR}/ops/*.cc ${CMAKE_CURRENT_LIST_DIR}/plan/*.cc
  ${CMAKE_CURRENT_LIST_DIR}/bench/peak*.cc)
foreach(variant IN LISTS x86_variants aarch64_variants)
  list(FILTER core_sources EXCLUDE REGEX "_${variant}\\.cc$")
endforeach()

add_library(pyqrt_core STATIC ${core_sources})
target_link_libraries(pyqrt_core PUBLIC pyqrt_options Threads::Threads)

foreach(variant IN LISTS variants)
  file(GLOB variant_sources CONFIGURE_DEPENDS
       ${CMAKE_CURRENT_LIST_DIR}/ops/*/*_${variant}.cc
       ${CMAKE_CURRENT_LIST_DIR}/bench/peak_${variant}.cc)
  add_library(pyqrt_${variant} OBJECT ${variant_sources})
  target_compile_options(pyqrt_${variant} PRIVATE ${flags_${variant}})
  target_link_libraries(pyqrt_${variant} PRIVATE pyqrt_options)
  target_sources(pyqrt_core PRIVATE $<TARGET_OBJECTS:pyqrt_${variant}>)
endforeach()
