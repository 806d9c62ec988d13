# The extension modules pyqrt._ops (nanobind) and pyqrt._runtime (pybind11), and their stubs.
execute_process(COMMAND ${Python_EXECUTABLE} -m nanobind --cmake_dir
                OUTPUT_VARIABLE nanobind_ROOT OUTPUT_STRIP_TRAILING_WHITESPACE
                COMMAND_ERROR_IS_FATAL ANY)
execute_process(COMMAND ${Python_EXECUTABLE} -m pybind11 --cmakedir
                OUTPUT_VARIABLE pybind11_ROOT OUTPUT_STRIP_TRAILING_WHITESPACE
                COMMAND_ERROR_IS_FATAL ANY)
set(PYBIND11_FINDPYTHON ON)
# Found anew each time: an isolated build lives in a folder that is gone at the next.
unset(nanobind_DIR CACHE)
unset(pybind11_DIR CACHE)
find_package(nanobind CONFIG REQUIRED)
find_package(pybind11 CONFIG REQUIRED)

nanobind_add_module(_ops NB_STATIC NOMINSIZE NB_SUPPRESS_WARNINGS ${CMAKE_CURRENT_LIST_DIR}/ops.cc)
pybind11_add_module(_runtime ${CMAKE_CURRENT_LIST_DIR}/runtime.cc)

# Stubs come from the modules themselves, so they cannot drift.
set(stubs ${CMAKE_CURRENT_BINARY_DIR}/stubs)
file(MAKE_DIRECTORY ${stubs})
nanobind_add_stub(_ops_stub MODULE _ops OUTPUT ${stubs}/_ops.pyi
                  PYTHON_PATH $<TARGET_FILE_DIR:_ops> DEPENDS _ops)
add_custom_command(
  OUTPUT ${stubs}/_runtime.pyi
  COMMAND ${Python_EXECUTABLE} -m pybind11_stubgen --exit-code --output-dir ${stubs} _runtime
  WORKING_DIRECTORY $<TARGET_FILE_DIR:_runtime> # where Python finds the module
  DEPENDS _runtime)
add_custom_target(_runtime_stub ALL DEPENDS ${stubs}/_runtime.pyi)

foreach(module IN ITEMS _ops _runtime)
  target_link_libraries(${module} PRIVATE pyqrt_core)
  install(TARGETS ${module} LIBRARY DESTINATION pyqrt)
  install(FILES ${stubs}/${module}.pyi DESTINATION pyqrt)
  if(SKBUILD_STATE STREQUAL "editable")
    # Type checkers read an editable package in the source tree; git ignores these copies.
    install(CODE "file(COPY ${stubs}/${module}.pyi DESTINATION ${PROJECT_SOURCE_DIR}/pyqrt)")
  endif()
endforeach()
