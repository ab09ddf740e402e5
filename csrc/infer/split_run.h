#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "infer/image.h"

namespace fmtc::infer {

// fmtc_infer --head: what it is told.
struct SendOptions {
  std::string head, url, device, json;
  std::vector<std::string> files, classes;  // classes: names; empty for those of the package
  int64_t topk = 5, batch = 0, seconds = 60;
  int64_t max_pixels = kDefaultMaxPixels;
};

// Runs the head on images and prints what the service makes of them. Error where not one image can
// be read, the service has another network, or the program was built without libcurl.
void run_send(const SendOptions& options);

}  // namespace fmtc::infer
