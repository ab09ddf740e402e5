#pragma once

#include <ATen/core/Tensor.h>
#include <torch/csrc/inductor/aoti_package/model_package_loader.h>

#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace fmtc::infer {

inline constexpr int64_t kMaxBatch = 1 << 16;

// A tensor that the compressed network writes.
struct CodingPoint {
  std::string name;
  int64_t values = 0;  // of one image
  int64_t reads = 0;   // how often it is read after it was written
};

// One of the network's outputs that is measured.
struct MeasuredOutput {
  std::string name;
  size_t index = 0;  // among all of its outputs
  at::Tensor mean;   // float64, to be subtracted from one image's; undefined where it is not known
};

// What one batch gave, on the CPU.
struct Coded {
  std::vector<at::Tensor> outputs;  // of the network, at least one
  at::Tensor used;                  // int64 [N, points], bytes of the streams
};

// A network that fmtc.export wrote (fmtc/deploy/export.py, schema fmtc.package/1).
class Package {
 public:
  // device: "cpu", "cuda", or empty for that of the package. Error where the file is no such
  // package, is for another device or one that is not there.
  Package(const std::string& path, const std::string& device);

  // x: float32 [N, input_shape] on the CPU. Error where a stream does not decode.
  Coded run(const at::Tensor& x);
  // The uncompressed network's outputs, on the CPU. It is loaded before, or at the first call.
  void load_plain();
  std::vector<at::Tensor> run_plain(const at::Tensor& x);

  bool on_cpu() const { return device_.is_cpu(); }
  int64_t values() const;  // of all points, of one image

  std::string model;  // the network's name
  std::string preprocess;
  std::vector<int64_t> input_shape;
  int64_t batch = 0;  // 0: any
  std::vector<std::string> classes;
  int64_t calibration_images = 0;
  // Energy of the memory that the streams are written to and read from.
  double write_joules_per_bit = 0;
  double read_joules_per_bit = 0;
  // A point of the result schema in which a run fills in what it measured.
  nlohmann::json point;
  std::vector<CodingPoint> points;  // its layers
  std::vector<MeasuredOutput> measured;
  size_t shown = 0;  // of its outputs, the one whose classes are shown

 private:
  using Loader = torch::inductor::AOTIModelPackageLoader;

  std::string path_;
  at::Device device_ = at::kCPU;
  size_t outputs_ = 0;
  std::unique_ptr<Loader> compressed_, plain_;
};

}  // namespace fmtc::infer
