#include "infer/csv.h"

#include "infer/image.h"

namespace fmtc::infer {

std::string stripped(const std::string& text) {
  constexpr const char* kBlanks = " \t\n\r\v\f";
  const size_t first = text.find_first_not_of(kBlanks);
  if (first == std::string::npos) return "";
  return text.substr(first, text.find_last_not_of(kBlanks) - first + 1);
}

std::vector<std::pair<int64_t, std::vector<std::string>>> parse_csv(const std::string& text) {
  std::vector<std::pair<int64_t, std::vector<std::string>>> rows;
  std::vector<std::string> row;
  std::string cell;
  int64_t line = 1;
  bool quoted = false, some = false;  // some: the row has begun
  const auto end_row = [&] {
    if (some) {
      row.push_back(std::move(cell));
      rows.emplace_back(line, std::move(row));
    }
    row.clear();
    cell.clear();
    some = false;
  };
  for (size_t i = text.starts_with("\xEF\xBB\xBF") ? 3 : 0; i < text.size(); ++i) {
    const char c = text[i];
    if (quoted) {
      if (c != '"') {
        cell += c;
        line += c == '\n' ? 1 : 0;
      } else if (i + 1 < text.size() && text[i + 1] == '"') {
        cell += text[++i];
      } else {
        quoted = false;
      }
    } else if (c == '\r' || c == '\n') {
      end_row();
      if (c == '\r' && i + 1 < text.size() && text[i + 1] == '\n') ++i;
      ++line;
    } else if (some = true; c == '"' && cell.empty()) {
      quoted = true;
    } else if (c == ',') {
      row.push_back(std::move(cell));
      cell.clear();
    } else {
      cell += c;
    }
  }
  if (quoted) throw Error("a quote that is not closed");
  end_row();
  return rows;
}

}  // namespace fmtc::infer
