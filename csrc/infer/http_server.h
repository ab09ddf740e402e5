#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "infer/split_package.h"

namespace fmtc::infer {

// Limits of a service; fmtc/deploy/serve.py has the same.
struct ServeOptions {
  std::string host = "127.0.0.1";
  int port = 8000;  // 0: a free one
  uint64_t max_body = uint64_t{1} << 24;
  int64_t max_images = 64;
  int64_t waiting = 32;  // requests besides the one that is computed
  int64_t seconds = 30;  // for each part of a body to arrive
};

// Answers POST /infer, GET /health and GET /metrics as fmtc serve does (fmtc/deploy/serve.py),
// images of the package's size alone, until SIGINT or SIGTERM; requests that are there then are
// answered first. ready: is told the URL. Error where the address cannot be had.
void serve(Tail& tail, const ServeOptions& options,
           const std::function<void(const std::string&)>& ready);

}  // namespace fmtc::infer
