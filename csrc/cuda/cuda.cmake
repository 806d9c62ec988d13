# The CUDA backend: pyqrt._cuda and pyqrt._cuda_ops, and the same sources on an emulated GPU,
# pyqrt._cuda_emulator and pyqrt._cuda_emulator_ops, which need no nvcc and are for tests only.
set(PYQRT_CUDA AUTO CACHE STRING "Build the CUDA backend: ON, OFF, or AUTO: when nvcc is found")
set_property(CACHE PYQRT_CUDA PROPERTY STRINGS AUTO ON OFF)
set(PYQRT_CUDA_ARCHITECTURES
    75-real 80-real 86-real 89-real 90a-real 90-virtual
    CACHE STRING "GPU architectures, as CMAKE_CUDA_ARCHITECTURES")
option(PYQRT_CUDA_EMULATOR "Build the emulated GPU that tests use" OFF)

file(GLOB cuda_kernels CONFIGURE_DEPENDS ${CMAKE_CURRENT_LIST_DIR}/../ops/*/*.cu)
set(cuda_sources ${CMAKE_CURRENT_LIST_DIR}/constants.cc ${CMAKE_CURRENT_LIST_DIR}/executor.cc
                 ${CMAKE_CURRENT_LIST_DIR}/session.cc)
file(GLOB emulator_sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_LIST_DIR}/emulator/*.cc)

# pyqrt_add_cuda_modules(<module> <library>): the two modules over one library of kernels.
function(pyqrt_add_cuda_modules module library)
  nanobind_add_module(${module}_ops NB_STATIC NOMINSIZE NB_SUPPRESS_WARNINGS NB_DOMAIN ${module}
                      ${PROJECT_SOURCE_DIR}/csrc/bind/cuda_ops.cc)
  pybind11_add_module(${module} ${PROJECT_SOURCE_DIR}/csrc/bind/cuda.cc)
  foreach(target IN ITEMS ${module} ${module}_ops)
    target_compile_definitions(${target} PRIVATE PYQRT_MODULE=${target})
    target_link_libraries(${target} PRIVATE ${library})
    install(TARGETS ${target} LIBRARY DESTINATION pyqrt)
  endforeach()
endfunction()

if(PYQRT_CUDA_EMULATOR)
  add_library(pyqrt_cuda_emulator STATIC ${cuda_kernels} ${cuda_sources} ${emulator_sources})
  set_source_files_properties(
    ${cuda_kernels} PROPERTIES LANGUAGE CXX COMPILE_OPTIONS "-x;c++")
  target_compile_definitions(pyqrt_cuda_emulator PUBLIC PYQRT_CUDA_EMULATOR)
  target_link_libraries(pyqrt_cuda_emulator PUBLIC pyqrt_core)
  pyqrt_add_cuda_modules(_cuda_emulator pyqrt_cuda_emulator)
endif()

if(PYQRT_CUDA STREQUAL "OFF")
  return()
endif()
include(CheckLanguage)
check_language(CUDA)
if(NOT CMAKE_CUDA_COMPILER)
  if(PYQRT_CUDA STREQUAL "ON")
    message(FATAL_ERROR "PYQRT_CUDA is ON, but there is no nvcc; put it on PATH or set CUDACXX")
  endif()
  message(STATUS "No nvcc: the CUDA backend is left out")
  return()
endif()
# (A function of its own folder, because a source has one language per folder.)
add_subdirectory(${CMAKE_CURRENT_LIST_DIR} cuda)
