#include "infer/http_client.h"

#include <curl/curl.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <thread>

#include "codec/error.h"
#include "codec/json.h"
#include "infer/image.h"

namespace fmtc::infer {
namespace {

constexpr int kAttempts = 6;
constexpr double kMostWaiting = 60;              // seconds, whatever Retry-After says
constexpr size_t kMostAnswer = size_t{1} << 30;  // bytes of an answer

size_t append(char* data, size_t, size_t size, void* to) {
  auto& body = *static_cast<std::string*>(to);
  if (body.size() + size > kMostAnswer) return 0;  // which curl takes for an error
  body.append(data, size);
  return size;
}

}  // namespace

HttpClient::HttpClient(const std::string& url, int64_t seconds)
    : url_(url), seconds_(seconds), curl_(curl_easy_init()) {
  if (curl_ == nullptr) throw Error("libcurl cannot be set up");
  while (url_.ends_with('/')) url_.pop_back();
}

HttpClient::~HttpClient() { curl_easy_cleanup(curl_); }

HttpClient::Answer HttpClient::request(const std::string& path, std::span<const uint8_t> bytes,
                                       bool post) {
  Answer answer;
  curl_easy_reset(curl_);  // options, not the connection
  const std::string url = url_ + path;
  curl_easy_setopt(curl_, CURLOPT_URL, url.c_str());
  curl_easy_setopt(curl_, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(curl_, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(curl_, CURLOPT_TIMEOUT, static_cast<long>(seconds_));
  curl_easy_setopt(curl_, CURLOPT_WRITEFUNCTION, append);
  curl_easy_setopt(curl_, CURLOPT_WRITEDATA, &answer.body);
  curl_slist* headers = curl_slist_append(nullptr, "Accept: application/json");
  headers = curl_slist_append(headers, "Expect:");  // no question whether to send the body
  if (post) {
    headers = curl_slist_append(headers, "Content-Type: application/octet-stream");
    curl_easy_setopt(curl_, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(bytes.size()));
    curl_easy_setopt(curl_, CURLOPT_POSTFIELDS, bytes.data());
  }
  curl_easy_setopt(curl_, CURLOPT_HTTPHEADER, headers);
  const CURLcode code = curl_easy_perform(curl_);
  curl_slist_free_all(headers);
  if (code != CURLE_OK) throw Error(url_ + ": " + curl_easy_strerror(code));
  curl_easy_getinfo(curl_, CURLINFO_RESPONSE_CODE, &answer.status);
  curl_off_t wait = 0;
  if (curl_easy_getinfo(curl_, CURLINFO_RETRY_AFTER, &wait) == CURLE_OK && wait > 0) {
    answer.retry_after = std::min(static_cast<double>(wait), kMostWaiting);
  }
  return answer;
}

nlohmann::json HttpClient::asked(const std::string& path, std::span<const uint8_t> bytes,
                                 bool post) {
  Answer answer = request(path, bytes, post);
  for (int attempt = 1; attempt < kAttempts && answer.status == 503; ++attempt) {
    std::this_thread::sleep_for(std::chrono::duration<double>(answer.retry_after));
    answer = request(path, bytes, post);
  }
  nlohmann::json content;
  try {
    content = codec::parse_json(answer.body, "the answer");
  } catch (const codec::Error&) {
    throw Error(url_ + ": this is no answer of fmtc; is the URL that of fmtc serve? (" +
                std::to_string(answer.status) + ")");
  }
  if (answer.status == 200) return content;
  const bool told =
      content.is_object() && content.contains("error") && content.at("error").is_string();
  throw Error(url_ + ": " + (told ? content.at("error").get<std::string>() : "refused") + " (" +
              std::to_string(answer.status) + ")");
}

nlohmann::json HttpClient::infer(std::span<const uint8_t> bytes) {
  return asked("/infer", bytes, true);
}

nlohmann::json HttpClient::health() { return asked("/health", {}, false); }

}  // namespace fmtc::infer
