#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace fmtc::infer {

// Rows of a CSV text (RFC 4180, any ends of lines, with or without the mark of UTF-8), those alone
// that are not empty, each with the number of the line on which it ends. Error where a quote is
// not closed.
std::vector<std::pair<int64_t, std::vector<std::string>>> parse_csv(const std::string& text);

// Without blanks at both ends.
std::string stripped(const std::string& text);

}  // namespace fmtc::infer
