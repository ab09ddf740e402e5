#pragma once

#include <ATen/core/Tensor.h>
#include <torch/csrc/inductor/aoti_package/model_package_loader.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "infer/description.h"

namespace fmtc::infer {

// What one batch gave, on the CPU.
struct Coded {
  std::vector<at::Tensor> outputs;  // of the network, at least one
  at::Tensor used;                  // int64 [N, points], bytes of the streams
  // Of all images, what each point has counted; empty where the package does not count.
  std::vector<LayerCounts> counts;
};

// What a package says of itself for one of its models. Error where the file is no package of fmtc
// or has another schema.
nlohmann::json read_metadata(const std::string& path, const char* model, const char* expected);

// Error where a package for the device `has` cannot run here, or not on the one that is wanted
// (empty: any).
void check_device(const std::string& path, const std::string& has, const std::string& wanted);

// One compiled network of a package's.
class CompiledNetwork {
 public:
  // model: its name in the package. Error where it cannot be loaded.
  CompiledNetwork(const std::string& path, const char* model, const NetworkDescription& has);

  // inputs: on the CPU; the results are on the network's device. Error with the first line of what
  // torch says.
  std::vector<at::Tensor> run(std::vector<at::Tensor> inputs);

 private:
  std::string path_;
  at::Device device_;
  std::unique_ptr<torch::inductor::AOTIModelPackageLoader> loader_;
};

// A network that fmtc.export wrote (fmtc/deploy/export.py, schema fmtc.package/2).
class Package : public Description {
 public:
  // device: "cpu", "cuda", or empty for that of the package. Error where the file is no such
  // package, is for another device or one that is not there.
  Package(const std::string& path, const std::string& device);

  // x: float32 [N, input_shape] on the CPU. Error where a stream does not decode.
  Coded run(const at::Tensor& x);
  // The uncompressed network's outputs, on the CPU. It is loaded before, or at the first call.
  // Error where it is in a file beside this one and that is not there or another network's.
  void load_plain();
  std::vector<at::Tensor> run_plain(const at::Tensor& x);

  bool on_cpu() const { return device == "cpu"; }
  const std::string& path() const { return path_; }

 private:
  std::vector<LayerCounts> counted(const std::vector<at::Tensor>& results) const;

  std::string path_;
  std::unique_ptr<CompiledNetwork> compressed_, plain_;
};

}  // namespace fmtc::infer
