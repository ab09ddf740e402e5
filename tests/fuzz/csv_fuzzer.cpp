// CSV texts: rows that are read come back from what they are written as.

#include <string>

#include "infer/csv.h"
#include "infer/image.h"
#include "input.h"

namespace fmtc {
namespace {

using Rows = std::vector<std::pair<int64_t, std::vector<std::string>>>;

std::string written(const Rows& rows) {
  std::string text;
  for (const auto& [line, cells] : rows) {
    for (size_t i = 0; i < cells.size(); ++i) {
      text += i == 0 ? "\"" : ",\"";
      for (const char c : cells[i]) text += c == '"' ? "\"\"" : std::string(1, c);
      text += '"';
    }
    text += "\r\n";
  }
  return text;
}

void read(const std::string& text) {
  try {
    const Rows rows = infer::parse_csv(text);
    int64_t before = 0;
    for (const auto& [line, cells] : rows) {
      FMTC_REQUIRE(line > before && !cells.empty());
      before = line;
    }
    const Rows again = infer::parse_csv(written(rows));
    FMTC_REQUIRE(again.size() == rows.size());
    for (size_t i = 0; i < rows.size(); ++i) FMTC_REQUIRE(again[i].second == rows[i].second);
  } catch (const infer::Error&) {
    return;
  }
}

}  // namespace
}  // namespace fmtc

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fmtc::read({reinterpret_cast<const char*>(data), size});
  return 0;
}
