#pragma once

#include <nlohmann/json.hpp>
#include <string_view>

namespace fmtc::codec {

// The value of a JSON text from outside. Error, whose message begins with `what`, for what is none,
// or is nested deeper than anything that fmtc writes: a value of any depth would be destroyed, and
// printed, by recursion.
nlohmann::json parse_json(std::string_view text, const char* what);

}  // namespace fmtc::codec
