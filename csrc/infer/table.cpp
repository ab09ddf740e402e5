#include "infer/table.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <numeric>
#include <set>
#include <vector>

namespace fmtc::infer {
namespace {

using nlohmann::json;
using Row = std::vector<std::string>;

constexpr size_t kWidth = 100;    // of the output
constexpr double kPlainBits = 8;  // that savings are counted against
constexpr std::array kHeaders = {"setting",        "entropy", "Huffman", "stream", "saved",
                                 "top-1 % (95 %)", "agree",   "SNR",     "arith"};

[[gnu::format(printf, 1, 2)]] std::string text_of(const char* format, ...) {
  char text[128];
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  return text;
}

// 12,345
std::string with_commas(int64_t count) {
  std::string text = std::to_string(count);
  for (size_t at = text.size(); at > 3; at -= 3) text.insert(at - 3, ",");
  return text;
}

std::string number(const json& value, int digits, const char* unit = "") {
  return value.is_null() ? "-" : text_of("%.*f%s", digits, value.get<double>(), unit);
}

std::string percent(const json& fraction, int digits = 1) {
  return fraction.is_null() ? "-" : text_of("%.*f %%", digits, 100 * fraction.get<double>());
}

std::string setting_text(const json& point) {
  const json& setting = point.at("setting");
  if (setting.is_null()) return "";
  const std::string kind = setting.at("kind");
  const double value = setting.at("value");
  if (kind == "b") return text_of("b = %g", value);
  if (kind == "step") return text_of("step %.4g", value);
  if (kind == "snr_db") return text_of("%g dB", value);
  if (kind == "kl") return text_of("KL %g", value);
  if (kind == "agreement") return text_of("%g %% agree", 100 * value);
  if (kind == "drop") return text_of("drop %g %%", 100 * value);
  const std::string rate = text_of("%g", value);  // as Python shows a float
  return rate + (rate.find_first_of(".e") == std::string::npos ? ".0 bits" : " bits");
}

json saving(const json& rates) {
  const json& rate = rates.at(rates.at("stream").is_null() ? "huffman" : "stream");
  return rate.is_null() ? json() : json(1 - rate.get<double>() / kPlainBits);
}

json multiply_add_ratio(const json& counts) {
  const json &plain = counts.at("plain"), &compressed = counts.at("compressed");
  if (plain.is_null() || plain == 0) return nullptr;
  return compressed.get<double>() / plain.get<double>();
}

std::string accuracy(const json& point) {
  if (point.at("top1").is_null()) return "-";
  const json& ends = point.at("top1_interval");
  return text_of("%.1f (%.1f-%.1f)", 100 * point.at("top1").get<double>(),
                 100 * ends.at(0).get<double>(), 100 * ends.at(1).get<double>());
}

Row cells(const json& point) {
  const json& rates = point.at("bits_per_value");
  return {setting_text(point),
          number(rates.at("entropy"), 3),
          number(rates.at("huffman"), 3),
          number(rates.at("stream"), 3),
          percent(saving(rates), 0),
          accuracy(point),
          percent(point.at("agreement")),
          number(point.at("snr_db"), 1),
          number(multiply_add_ratio(point.at("multiply_adds")), 2, "x")};
}

// The SNR of each output, where there are several; "" otherwise.
std::string outputs_told(const json& point) {
  const json& outputs = point.at("outputs");
  if (outputs.size() < 2) return "";
  std::string text;
  for (const json& output : outputs) {
    text += (text.empty() ? "" : ", ") + output.at("name").get<std::string>() + " " +
            number(output.at("snr_db"), 1) + " dB";
  }
  return text;
}

std::string title(const json& result) {
  const json& dataset = result.at("dataset");
  return result.at("model").get<std::string>() + ": " +
         with_commas(dataset.at("evaluated_images")) + " images of " +
         dataset.at("path").get<std::string>() + ", calibrated with " +
         with_commas(dataset.at("calibration_images")) + " others";
}

std::string caption(const json& result) {
  const json& reference = result.at("reference").at("top1");
  std::string text, told;
  for (const json& point : result.at("points")) {
    const std::string outputs = outputs_told(point);
    if (!outputs.empty()) told += "\n" + setting_text(point) + ": " + outputs;
  }
  if (!reference.is_null()) text = "uncompressed top-1: " + percent(reference) + "\n";
  return text + text_of("rates: bits per value; saved: against %g bit; SNR: dB", kPlainBits) +
         (told.empty() ? "" : ", of the worst output") +
         ";\narith: multiply-adds against the plain network's" + told;
}

// -- Layout, as rich (14) does it
// ------------------------------------------------------------------

// Where each code point of UTF-8 begins, and the end.
std::vector<size_t> points_of(const std::string& text) {
  std::vector<size_t> starts;
  for (size_t i = 0; i < text.size(); ++i) {
    if ((static_cast<unsigned char>(text[i]) & 0xC0) != 0x80) starts.push_back(i);
  }
  starts.push_back(text.size());
  return starts;
}

size_t length(const std::string& text) { return points_of(text).size() - 1; }

std::string first_points(const std::string& text, size_t count) {
  return text.substr(0, points_of(text)[count]);
}

std::string left(const std::string& text, size_t width) {
  return text + std::string(width - std::min(width, length(text)), ' ');
}

std::string right(std::string text, size_t width) {
  if (length(text) > width) text = first_points(text, width - 1) + "…";
  return std::string(width - length(text), ' ') + text;
}

// Lines of at most this width, broken between words, longer words anywhere.
std::vector<std::string> wrapped(const std::string& text, size_t width) {
  std::vector<std::string> lines(1);
  for (size_t at = 0; at < text.size();) {
    const size_t word_end = std::min(text.find(' ', text.find_first_not_of(' ', at)), text.size());
    const size_t next = std::min(text.find_first_not_of(' ', word_end), text.size());
    std::string word = text.substr(at, word_end - at);
    const std::string blanks = text.substr(word_end, next - word_end);
    if (length(lines.back()) + length(word) > width) {
      if (!lines.back().empty()) lines.emplace_back();
      for (; length(word) > width; lines.emplace_back()) {
        lines.back() = first_points(word, width);
        word = word.substr(lines.back().size());
      }
    }
    lines.back() += word + blanks;
    at = next;
  }
  for (std::string& line : lines) {
    line.resize(line.find_last_not_of(' ') == std::string::npos ? 0
                                                                : line.find_last_not_of(' ') + 1);
  }
  return lines;
}

void add_paragraphs(std::string& table, const std::string& text, size_t width) {
  for (size_t at = 0; at <= text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    for (const std::string& line : wrapped(text.substr(at, end - at), width)) {
      table += left(line, width) + "\n";
    }
    at = end + 1;
  }
}

// Widths of the columns, the last of them without the blank behind it. Where they are too many, the
// excess is taken off them evenly (ratio_reduce).
std::vector<size_t> widths_of(const std::vector<Row>& rows) {
  std::vector<size_t> widths(rows.front().size());
  for (const Row& row : rows) {
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], length(row[i]));
  }
  const size_t between = 2 * (widths.size() - 1) + 2;  // with the edges
  const size_t all = std::accumulate(widths.begin(), widths.end(), between);
  double excess = all > kWidth ? static_cast<double>(all - kWidth) : 0;
  for (size_t i = 0; i < widths.size(); ++i) {
    const double share = std::nearbyint(excess / static_cast<double>(widths.size() - i));
    const size_t less = std::min(static_cast<size_t>(share), widths[i] - 1);
    widths[i] -= less;
    excess -= static_cast<double>(less);
  }
  return widths;
}

}  // namespace

std::string result_table(const json& result) {
  std::set<std::string> presets;
  const auto preset = [](const json& point) {
    return point.at("preset").is_null() ? "-" : point.at("preset").get<std::string>();
  };
  for (const json& point : result.at("points")) presets.insert(preset(point));
  std::vector<Row> rows = {Row(kHeaders.begin(), kHeaders.end())};
  for (const json& point : result.at("points")) rows.push_back(cells(point));
  for (size_t i = 0; presets.size() > 1 && i < rows.size(); ++i) {
    rows[i].insert(rows[i].begin(), i == 0 ? "preset" : preset(result.at("points").at(i - 1)));
  }
  const std::vector<size_t> widths = widths_of(rows);
  const size_t width = std::accumulate(widths.begin(), widths.end(), 2 * (widths.size() - 1) + 2);
  std::string table;
  add_paragraphs(table, title(result), width);
  table += std::string(width, ' ') + "\n";
  for (size_t i = 0; i < rows.size(); ++i) {
    std::string line = " ";
    for (size_t j = 0; j < widths.size(); ++j)
      line += (j ? "  " : "") + right(rows[i][j], widths[j]);
    table += line + " \n";
    if (i > 0) continue;
    table += " ";
    for (size_t j = 0; j < width - 2; ++j) table += "─";
    table += " \n";
  }
  table += std::string(width, ' ') + "\n";
  add_paragraphs(table, caption(result), width);
  return table;
}

}  // namespace fmtc::infer
