#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "infer/rates.h"

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

// What an image is known by under any name: bytes and CRC-32 of it as it is stored, that is of its
// file, or in an .npz of its pixels [C, H, W].
struct Content {
  uint64_t bytes = 0;
  uint32_t crc = 0;

  auto operator<=>(const Content&) const = default;
};

// What packages of a network and of its points have in common.
struct NetworkDescription {
  std::string network;  // fingerprint of the uncompressed one
  std::string device, torch;
  std::vector<int64_t> input_shape;
  int64_t batch = 0;   // 0: any
  size_t outputs = 0;  // of the network

  // From a package's metadata; `where` is for errors. Error where it is damaged.
  NetworkDescription(const nlohmann::json& metadata, const std::string& where);
};

// What a package that fmtc.export wrote says of itself (fmtc/deploy/metadata.py).
struct Description : NetworkDescription {
  std::string model;  // the network's name
  std::string preprocess;
  std::string plain;  // the file beside it with the plain network; empty where it has that itself
  std::vector<std::string> classes;
  int64_t calibration_images = 0;
  int64_t seed = 0;                  // by which they were drawn
  std::vector<Content> calibration;  // empty where they are not known
  // Energy of the memory that the streams are written to and read from.
  double write_joules_per_bit = 0;
  double read_joules_per_bit = 0;
  // A point of the result schema in which a run fills in what it measured.
  nlohmann::json point;
  std::vector<CodingPoint> points;  // its layers
  std::vector<LayerRates> rates;    // of each, where the package counts; empty where it does not
  std::vector<MeasuredOutput> measured;
  size_t shown = 0;         // of its outputs, the one whose classes are shown
  int64_t class_count = 0;  // of that one; 0 where it is no classifier's
  nlohmann::json metadata;  // all of it, but for means of outputs

  Description(nlohmann::json metadata, const std::string& where);

  bool counts() const { return !rates.empty(); }
  int64_t values() const;  // of all points, of one image
  // The same over all values that the network writes, of a rate over those of the points.
  double of_all_written(double bits_per_value) const;
};

}  // namespace fmtc::infer
