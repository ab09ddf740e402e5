#include "infer/environment.h"

#include <ATen/Parallel.h>
#include <malloc.h>
#include <torch/headeronly/version.h>

#include <fstream>
#include <string>

namespace fmtc::infer {
namespace {

std::string cpu_name() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    const size_t colon = line.find(": ");
    if (line.starts_with("model name") && colon != std::string::npos) return line.substr(colon + 2);
  }
  return "unknown";
}

}  // namespace

nlohmann::json environment(std::optional<int64_t> seed) {
  return {{"fmtc", FMTC_VERSION},
          {"commit", nullptr},
          {"torch", TORCH_VERSION},
          {"torchvision", nullptr},
          {"python", nullptr},
          {"cpu", cpu_name()},
          {"seed", seed ? nlohmann::json(*seed) : nlohmann::json()},
          {"threads", at::get_num_threads()}};
}

void keep_freed_memory() {
#ifdef __GLIBC__
  mallopt(M_MMAP_MAX, 0);
  mallopt(M_TRIM_THRESHOLD, -1);
#endif
}

}  // namespace fmtc::infer
