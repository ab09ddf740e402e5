#pragma once

#include <map>
#include <string>
#include <string_view>

#include "codec/safetensors.h"

namespace fmtc::codec {

// Reads the JSON header of a safetensors file as it is parsed, without making a value of it: what
// has no place in a header is refused where it begins. Error for what is no header.
void parse_header(std::string_view text, std::map<std::string, TensorEntry>& entries,
                  std::map<std::string, std::string>& metadata);

}  // namespace fmtc::codec
