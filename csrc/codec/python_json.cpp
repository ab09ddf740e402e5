#include "codec/python_json.h"

#include <charconv>

#include "codec/layer.h"

namespace fmtc::codec {
namespace {

// repr(value): the shortest digits that give the number back, with an exponent where it is below
// -4 or above 15.
std::string python_text(double value) {
  char buffer[32];
  const auto [end, error] =
      std::to_chars(buffer, buffer + sizeof(buffer), value, std::chars_format::scientific);
  const std::string text(buffer, end);
  const size_t e = text.find('e');
  if (e == std::string::npos) fail_damaged("a number is not finite");
  const int exponent = std::stoi(text.substr(e + 1));
  if (exponent < -4 || exponent > 15) return text;  // has two digits of exponent at least, too
  const std::string sign = text[0] == '-' ? "-" : "";
  std::string digits = text.substr(sign.size(), e - sign.size());
  std::erase(digits, '.');
  if (exponent < 0)
    return sign + "0." + std::string(static_cast<size_t>(-exponent - 1), '0') + digits;
  const auto whole = static_cast<size_t>(exponent) + 1;
  if (digits.size() <= whole) return sign + digits + std::string(whole - digits.size(), '0') + ".0";
  return sign + digits.substr(0, whole) + "." + digits.substr(whole);
}

}  // namespace

std::string python_text(const nlohmann::json& value) {
  std::string text;
  if (value.is_object()) {
    for (const auto& [key, member] : value.items()) {  // sorted, as nlohmann::json keeps them
      text += (text.empty() ? "" : ", ") + nlohmann::json(key).dump(-1, ' ', true) + ": " +
              python_text(member);
    }
    return "{" + text + "}";
  }
  if (value.is_array()) {
    for (const nlohmann::json& element : value)
      text += (text.empty() ? "" : ", ") + python_text(element);
    return "[" + text + "]";
  }
  return value.is_number_float() ? python_text(value.get<double>()) : value.dump(-1, ' ', true);
}

}  // namespace fmtc::codec
