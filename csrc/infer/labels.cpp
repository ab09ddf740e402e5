#include "infer/labels.h"

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>
#include <set>

#include "codec/file.h"
#include "codec/json.h"
#include "infer/csv.h"
#include "infer/image.h"

namespace fmtc::infer {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

std::string read_text(const fs::path& file, uint64_t max_bytes) {
  const std::vector<uint8_t> bytes = codec::read_file(file, max_bytes);
  return {bytes.begin(), bytes.end()};
}

bool is_decimal(const std::string& text) {
  return !text.empty() && std::ranges::all_of(text, [](char c) { return '0' <= c && c <= '9'; });
}

int64_t whole_number(const std::string& text) {
  const std::string digits = stripped(text);
  int64_t value = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (error != std::errc() || end != digits.data() + digits.size()) {
    throw Error("'" + text + "' is no whole number");
  }
  return value;
}

std::string joined(const std::vector<std::string>& cells) {
  std::string text;
  for (const std::string& cell : cells) text += (text.empty() ? "" : ",") + cell;
  return text;
}

std::map<std::string, int64_t> class_index_of(const json& entries) {
  std::map<std::string, int64_t> found;
  for (const auto& [key, value] : entries.get<std::map<std::string, json>>()) {
    if (value.is_array()) {
      found[value.at(0)] = whole_number(key);
    } else {
      found[key] = value.is_string() ? whole_number(value) : value.get<int64_t>();
    }
  }
  return found;
}

std::map<std::string, int64_t> class_index_of(const std::string& text) {
  auto rows = parse_csv(text);
  const auto cell = [](const std::vector<std::string>& row) {
    if (row.size() < 2) throw Error("a line without an index");
    return row[1];
  };
  std::map<std::string, int64_t> found;
  const size_t header = !rows.empty() && is_decimal(stripped(cell(rows.front().second))) ? 0 : 1;
  for (size_t i = header; i < rows.size(); ++i) {
    const std::vector<std::string>& row = rows[i].second;
    found[stripped(row.front())] = whole_number(cell(row));
  }
  return found;
}

}  // namespace

Labelled read_label_file(const fs::path& file, const fs::path& folder, uint64_t max_bytes) {
  std::vector<std::pair<int64_t, std::vector<std::string>>> rows;
  try {
    rows = parse_csv(read_text(file, max_bytes));
  } catch (const std::runtime_error& error) {
    throw Error(file.string() + " cannot be read as CSV in UTF-8: " + error.what());
  }
  std::vector<std::string> header = rows.empty() ? std::vector<std::string>() : rows[0].second;
  std::ranges::transform(header, header.begin(), stripped);
  if (header.size() < 2 || header[0] != "file" || header[1] != "label") {
    throw Error(file.string() + ": the first line must be 'file,label', not '" + joined(header) +
                "'");
  }
  Labelled found;
  std::set<std::string> seen;
  for (size_t i = 1; i < rows.size(); ++i) {
    const auto& [line, row] = rows[i];
    const std::string where = file.string() + ", line " + std::to_string(line) + ": ";
    const std::string label = row.size() < 2 ? "" : stripped(row[1]);
    if (!is_decimal(label)) {
      throw Error(where + stripped(row[0]) + " has label '" + label + "', not a class index");
    }
    std::string name = fs::path(stripped(row[0])).lexically_normal().generic_string();
    if (name.size() > 1 && name.ends_with('/')) name.pop_back();
    if (!seen.insert(name).second) throw Error(where + name + " is listed twice");
    if (!fs::is_regular_file(folder / name)) {
      throw Error(where + "there is no image " + name + " in " + folder.string());
    }
    found.names.push_back(name);
    found.labels.push_back(whole_number(label));
  }
  if (found.names.empty()) throw Error(file.string() + " lists no images");
  return found;
}

std::map<std::string, int64_t> read_class_index(const fs::path& file, uint64_t max_bytes) {
  try {
    const std::string text = read_text(file, max_bytes);
    std::string kind = file.extension().string();
    std::ranges::transform(kind, kind.begin(), [](unsigned char c) { return std::tolower(c); });
    return kind == ".json" ? class_index_of(codec::parse_json(text, "it")) : class_index_of(text);
  } catch (const std::exception& error) {
    throw Error(file.string() +
                " must map folder names to class indices, as JSON or CSV: " + error.what());
  }
}

}  // namespace fmtc::infer
