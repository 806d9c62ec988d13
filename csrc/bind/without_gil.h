// Kernels run without Python's lock: how it is given back and taken again, in modules of pybind11
// and of nanobind.
#pragma once

#include <Python.h>

#include <chrono>
#include <thread>

namespace pyqrt {

// The calling thread is without the lock for as long as this lives.
//
// When the interpreter ends, Python before 3.14 answers a daemon thread that asks for the lock with
// pthread_exit, whose unwinding must not leave a destructor: that would end the process by
// std::terminate. Such a thread waits here for the process to end, as it does in 3.14.
class WithoutGil {
 public:
  WithoutGil() : state_(PyEval_SaveThread()) {}
  ~WithoutGil() {
    try {
      PyEval_RestoreThread(state_);
    } catch (...) {
      for (;;) std::this_thread::sleep_for(std::chrono::hours(1));
    }
  }
  WithoutGil(const WithoutGil&) = delete;
  WithoutGil& operator=(const WithoutGil&) = delete;

 private:
  PyThreadState* state_;
};

}  // namespace pyqrt
