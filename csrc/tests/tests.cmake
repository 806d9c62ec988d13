# pyqrt_tests: every variant of every op against the reference, without Python. For machines that
# are only emulated (tools/aarch64.sh, tools/emulated_x86.sh); pytest says more about the one it runs on.
file(GLOB test_sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_LIST_DIR}/*.cc)
add_executable(pyqrt_tests ${test_sources})
target_link_libraries(pyqrt_tests PRIVATE pyqrt_core)
