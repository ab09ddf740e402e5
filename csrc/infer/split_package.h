#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "infer/image.h"
#include "infer/package.h"

namespace fmtc::infer {

// What head.pt2 and tail.pt2 of fmtc.export say of themselves (fmtc/deploy/export_split.py).
struct SplitDescription : NetworkDescription {
  struct Crossing {
    std::string name;
    int64_t bound = 0;  // bytes of a stream, at most
  };
  struct Output {
    std::string name;
    std::vector<int64_t> shape;  // of one image
  };

  std::vector<Crossing> tensors;
  std::vector<Output> named_outputs;
  std::string preprocess;
  std::vector<std::string> classes;

  SplitDescription(const nlohmann::json& metadata, const std::string& where);

  // The number of the output whose classes are shown; nothing where none has any.
  std::optional<size_t> shown() const;
};

// The first part of a split network.
class Head {
 public:
  // device: as for Package. Error where the file is no such package.
  Head(const std::string& path, const std::string& device);

  const SplitDescription& description() const { return description_; }
  // The bundle of images x, float32 [N, input_shape] on the CPU.
  std::vector<uint8_t> run(const at::Tensor& x);

 private:
  SplitDescription description_;
  CompiledNetwork network_;
};

// Bytes that a tail does not take.
class Unusable : public Error {
 public:
  enum class Why { kDamaged, kForeign, kTooMany };

  Unusable(Why why, const std::string& message) : Error(message), why(why) {}

  Why why;
};

// The second part: takes bundles from anywhere.
class Tail {
 public:
  Tail(const std::string& path, const std::string& device);

  const SplitDescription& description() const { return description_; }
  // The named outputs, on the CPU, of a bundle of at most max_images images. Unusable where it is
  // damaged, another head's or of more; nothing is allocated before that is known.
  std::vector<at::Tensor> run(std::span<const uint8_t> bundle, int64_t max_images);

 private:
  SplitDescription description_;
  CompiledNetwork network_;
};

}  // namespace fmtc::infer
