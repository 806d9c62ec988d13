// How many CPUs this process may use, as the Linux scheduler and its control groups say.
#include <algorithm>
#include <fstream>
#include <sstream>
#include <string>
#include <thread>

#include "base/parallel.h"

#if defined(__linux__)
#include <sched.h>
#endif

namespace pyqrt {
namespace {

int affinity_cpus() {
#if defined(__linux__)
  // The kernel refuses a mask smaller than its own, so the mask grows until it fits.
  for (int capacity = 1024; capacity <= 1 << 20; capacity *= 2) {
    cpu_set_t* mask = CPU_ALLOC(capacity);
    if (mask == nullptr) break;
    const std::size_t bytes = CPU_ALLOC_SIZE(capacity);
    const bool known = sched_getaffinity(0, bytes, mask) == 0;
    const int count = known ? CPU_COUNT_S(bytes, mask) : 0;
    CPU_FREE(mask);
    if (known) return std::max(1, count);
  }
#endif
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

#if defined(__linux__)
constexpr int64_t kNoQuota = INT64_MAX;

int64_t quota_cpus(int64_t quota, int64_t period) {
  return quota > 0 && period > 0 ? ceil_div(quota, period) : kNoQuota;
}

// cgroup v2: one file, "<quota or max> <period>".
int64_t quota_v2(const std::string& folder) {
  std::ifstream file(folder + "/cpu.max");
  int64_t quota = 0;
  int64_t period = 0;
  return file >> quota >> period ? quota_cpus(quota, period) : kNoQuota;
}

// cgroup v1: two files; the quota is -1 when there is none.
int64_t quota_v1(const std::string& folder) {
  std::ifstream quota_file(folder + "/cpu.cfs_quota_us");
  std::ifstream period_file(folder + "/cpu.cfs_period_us");
  int64_t quota = 0;
  int64_t period = 0;
  return quota_file >> quota && period_file >> period ? quota_cpus(quota, period) : kNoQuota;
}

// A group is bound by its own quota and by every ancestor's. In a container the path may lie
// above what is mounted; the missing folders then have no quota and the root still counts.
template <class Quota>
int64_t least_quota(const std::string& mount, std::string path, Quota quota) {
  int64_t least = quota(mount);
  while (path.size() > 1) {
    least = std::min(least, quota(mount + path));
    path.resize(path.rfind('/'));
  }
  return least;
}

bool lists_cpu(const std::string& controllers) {
  std::istringstream names(controllers);
  for (std::string name; std::getline(names, name, ',');) {
    if (name == "cpu") return true;
  }
  return false;
}

// /proc/self/cgroup has lines "<id>:<controllers>:<path>"; v2's has id 0 and no controllers.
int64_t cgroup_cpus() {
  const std::string root = "/sys/fs/cgroup";
  int64_t least = kNoQuota;
  std::ifstream groups("/proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {
    const std::size_t first = line.find(':');
    const std::size_t second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos || line.compare(second + 1, 1, "/") != 0) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    const std::string path = line.substr(second + 1);
    if (controllers.empty()) least = std::min(least, least_quota(root, path, quota_v2));
    if (lists_cpu(controllers)) {
      for (const std::string& mount : {root + "/cpu", root + "/" + controllers}) {
        least = std::min(least, least_quota(mount, path, quota_v1));
      }
    }
  }
  return least;
}
#endif

}  // namespace

int available_cpus() {
  int64_t cpus = affinity_cpus();
#if defined(__linux__)
  cpus = std::min(cpus, cgroup_cpus());
#endif
  return static_cast<int>(std::max<int64_t>(1, cpus));
}

}  // namespace pyqrt
