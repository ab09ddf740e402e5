#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <string>
#include <vector>

#include "infer/evaluation.h"
#include "infer/loader.h"
#include "infer/package.h"

namespace fmtc::infer {

// The networks of an evaluation: the plain one, and a compressed one for each point.
class Networks {
 public:
  // Packages (fmtc.export with statistics) of one network. device: as for Package. Error where they
  // do not belong together or do not count.
  Networks(const std::vector<std::string>& paths, const std::string& device);

  const Package& first() const { return *packages_.front(); }
  std::vector<Description> descriptions() const;
  // Images that one of the points was calibrated with.
  std::vector<Content> calibration() const;

  // Runs all networks on a batch, which has images, and takes down what they make of it.
  void run(const Batch& batch, Evaluation& evaluation);
  // In all networks so far.
  double seconds() const { return seconds_; }

 private:
  std::vector<std::unique_ptr<Package>> packages_;
  double seconds_ = 0;
};

}  // namespace fmtc::infer
