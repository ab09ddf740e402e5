#include "codec/json.h"

#include <string>

#include "codec/error.h"

namespace fmtc::codec {
namespace {

constexpr int kMostDepth = 64;

}  // namespace

nlohmann::json parse_json(std::string_view text, const char* what) {
  using nlohmann::json;
  // The parser takes a zero byte for the end of the text.
  if (text.find('\0') != std::string_view::npos) throw Error(std::string(what) + ": a zero byte");
  try {
    return json::parse(text, [&](int depth, json::parse_event_t, json&) {
      if (depth > kMostDepth) throw Error(std::string(what) + ": it is nested too deeply");
      return true;
    });
  } catch (const json::exception& error) {
    throw Error(std::string(what) + ": " + error.what());
  }
}

}  // namespace fmtc::codec
