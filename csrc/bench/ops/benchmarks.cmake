# pyqrt_bench: every variant of every op under Google Benchmark. tools/README.md says how to run it.
find_package(benchmark 1.6 REQUIRED)

file(GLOB benchmark_sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_LIST_DIR}/*_bench.cc)
add_executable(pyqrt_bench ${benchmark_sources})
target_link_libraries(pyqrt_bench PRIVATE pyqrt_core benchmark::benchmark_main)
