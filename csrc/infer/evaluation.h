#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "infer/evaluated_point.h"
#include "infer/measures.h"

namespace fmtc::infer {

// What an evaluation is of: where two agree in it, their images can be put together.
struct Run {
  std::string path;     // of the data set, as given
  size_t images = 0;    // that were chosen, also those that cannot be read
  uint32_t choice = 0;  // CRC-32 of their names, in their order
  size_t left_out = 0;  // images of calibration
  int64_t seed = 0;     // of the choice
  int64_t batch = 0;    // images at a time
  int64_t threads = 0;  // of the networks
  int64_t shards = 1;   // among which the batches are divided
  std::vector<Description> points;

  nlohmann::json state() const;
  explicit Run(const nlohmann::json& state);
  Run() = default;
};

// Points of one network on the same images: what a whole run, or a part of it, has measured.
class Evaluation {
 public:
  // shard: 1 ... run.shards, whose batches are to be evaluated, so many.
  Evaluation(Run run, int64_t shard, size_t batches);

  // A part that was written before (schema fmtc.part/1). Error for anything else.
  static Evaluation read(const std::string& path, uint64_t max_bytes);
  // Writes all that has been measured, so that it can be gone on with or merged.
  void write(const std::string& path, const std::string& command) const;

  // Error, which says in what they differ, where this is not a part of such an evaluation.
  void check_same(const Evaluation& other, const std::string& path) const;
  // Takes in what another part has measured of other images at the same time.
  void add(const Evaluation& other);

  const Run& run() const { return run_; }
  int64_t shard() const { return shard_; }
  size_t batches() const { return batches_; }
  bool finished() const { return done == batches_; }

  // A document of the schema fmtc.result/3. Error where no image was read.
  nlohmann::json result(const std::string& command) const;

  std::vector<EvaluatedPoint> points;
  Accuracy reference;                // of the uncompressed network
  std::vector<std::string> skipped;  // names of images that could not be read
  size_t done = 0;                   // batches
  size_t images = 0;                 // of them, also those that could not be read

 private:
  void add_state(const nlohmann::json& state, bool at_once);

  Run run_;
  int64_t shard_;
  size_t batches_;
};

// All parts of an evaluation together. Error where one is missing, twice, not finished, or of
// another evaluation.
Evaluation merged(const std::vector<std::string>& paths, uint64_t max_bytes);

}  // namespace fmtc::infer
