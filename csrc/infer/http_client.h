#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <span>
#include <string>

namespace fmtc::infer {

// Asks a service (fmtc serve, fmtc_infer --listen) for outputs, over one connection (libcurl).
class HttpClient {
 public:
  // url: as http://server:8000. seconds: for an answer.
  HttpClient(const std::string& url, int64_t seconds);
  ~HttpClient();
  HttpClient(const HttpClient&) = delete;
  HttpClient& operator=(const HttpClient&) = delete;

  // The JSON of POST /infer with these bytes, or of GET /health. Where the service has no place it
  // is asked again, some times. Error with what the service says, or why there is no answer.
  nlohmann::json infer(std::span<const uint8_t> bytes);
  nlohmann::json health();

 private:
  struct Answer {
    long status = 0;
    double retry_after = 1;
    std::string body;
  };

  nlohmann::json asked(const std::string& path, std::span<const uint8_t> bytes, bool post);
  Answer request(const std::string& path, std::span<const uint8_t> bytes, bool post);

  std::string url_;
  int64_t seconds_;
  void* curl_;
};

}  // namespace fmtc::infer
