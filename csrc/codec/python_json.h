#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace fmtc::codec {

// The text of Python's json.dumps(value, sort_keys=True): what a saved codec's checksum is over.
// Error for numbers that are not finite.
std::string python_text(const nlohmann::json& value);

}  // namespace fmtc::codec
