#include "infer/accepted.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <vector>

namespace fmtc::infer {
namespace {

// Without the blanks around them, in lower case.
std::vector<std::string> words_between(std::string_view text, char separator) {
  std::vector<std::string> words(1);
  for (const char c : text) {
    if (c == separator) {
      words.emplace_back();
    } else {
      words.back() += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    }
  }
  for (std::string& word : words) {
    const size_t first = word.find_first_not_of(" \t");
    const size_t last = word.find_last_not_of(" \t");
    word = first == std::string::npos ? "" : word.substr(first, last - first + 1);
  }
  return words;
}

double weight_of(const std::vector<std::string>& words) {
  for (size_t i = 1; i < words.size(); ++i) {
    if (!words[i].starts_with("q=")) continue;
    double weight = 0;
    std::from_chars(words[i].data() + 2, words[i].data() + words[i].size(), weight);
    return weight;
  }
  return 1;
}

}  // namespace

std::string accepted(std::string_view header) {
  std::string best;
  double most = 0;
  for (const std::string& part : words_between(header.empty() ? "*/*" : header, ',')) {
    const std::vector<std::string> words = words_between(part, ';');
    const double weight = weight_of(words);
    if (weight <= most) continue;
    if (words[0] == kNpy) {
      best = kNpy;
    } else if (words[0] == kJson || words[0] == "application/*" || words[0] == "*/*") {
      best = kJson;
    } else {
      continue;
    }
    most = weight;
  }
  return best;
}

}  // namespace fmtc::infer
