#pragma once

#include <ATen/core/Tensor.h>
#include <torch/csrc/inductor/aoti_package/model_package_loader.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace fmtc::infer {

// A tensor that the compressed network writes.
struct CodingPoint {
  std::string name;
  int64_t values = 0;  // of one image
  int64_t reads = 0;   // how often it is read after it was written
};

// What one batch gave.
struct Coded {
  at::Tensor output;  // the network's first output
  at::Tensor used;    // int64 [N, points], bytes of the streams
};

// A network that fmtc.export wrote (fmtc/export.py, schema fmtc.package/1).
class Package {
 public:
  // Error where the file is no such package.
  explicit Package(const std::string& path);

  // x: float32 [N, input_shape]. Error where a stream does not decode.
  Coded run(const at::Tensor& x);
  // The uncompressed network's first output; loaded at the first call.
  at::Tensor run_plain(const at::Tensor& x);

  std::string description;  // model, preset and setting
  std::string preprocess;
  std::vector<int64_t> input_shape;
  int64_t batch = 0;  // 0: any
  std::vector<std::string> classes;
  std::vector<CodingPoint> points;

  int64_t values() const;  // of all points, of one image

 private:
  using Loader = torch::inductor::AOTIModelPackageLoader;

  std::string path_;
  size_t outputs_ = 0;
  std::unique_ptr<Loader> compressed_, plain_;
};

}  // namespace fmtc::infer
