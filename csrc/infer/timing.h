#pragma once

#include <array>
#include <nlohmann/json.hpp>
#include <vector>

namespace fmtc::infer {

// Seconds an image, one entry a run of a batch. What is not measured is empty.
struct Times {
  std::vector<double> total;    // in the compressed network
  std::vector<double> network;  // of it, what is neither of the following
  std::vector<double> encode, decode;
  std::vector<double> plain;  // in the uncompressed network

  struct Kind {
    const char *key, *label;  // in the result, for people
    std::vector<double> Times::*seconds;
  };
  static const std::array<Kind, 5> kKinds;

  // seconds_per_image of the result schema.
  nlohmann::json summary() const;
  // All entries, and taking in those of another run.
  nlohmann::json state() const;
  void add(const nlohmann::json& state);
};

// Seconds that went into the operators of the encoder and of the decoder: all of a coding point
// where it is one operator each way, transform and quantiser included; else prediction, classes of
// positions and streams. The operators run one after the other, each on all threads.
struct CoderSeconds {
  double encode = 0;
  double decode = 0;
};

// Begins to watch fmtc's operators, in the whole process; once is enough.
void watch_coder();
// What they took since the last call.
CoderSeconds take_coder_seconds();

}  // namespace fmtc::infer
