#pragma once

#include <stdexcept>
#include <string>
#include <string_view>

namespace fmtc::codec {

// What is wrong with a file or an argument, in a sentence for the user.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// The text for a terminal: with ? for control characters and what is no UTF-8, as messages name
// what files from outside hold.
std::string printable(std::string_view text);

}  // namespace fmtc::codec
