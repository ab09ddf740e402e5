#pragma once

#include <CLI/CLI.hpp>
#include <charconv>
#include <cstdint>
#include <optional>
#include <string>

namespace fmtc::codec {

// For the options of all programs: a whole number from `least` to `most`, or a sentence.
inline CLI::Validator whole_number(int64_t least, int64_t most) {
  const std::string range = std::to_string(least) + " to " + std::to_string(most);
  return CLI::Validator(
      [=](const std::string& text) {
        int64_t value = 0;
        const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
        const bool whole = error == std::errc() && end == text.data() + text.size();
        return whole && least <= value && value <= most
                   ? std::string()
                   : "expected a whole number from " + range + ", not '" + text + "'";
      },
      "");
}

// Exit status of all programs where something was wrong, in their use or in a file, as the command
// fmtc has it; 0 and, when interrupted, 130 are the others.
inline constexpr int kFailed = 2;

// Parses the command line; the status to leave with, after an error or --help.
inline std::optional<int> parsed(CLI::App& app, int argc, char** argv) {
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : kFailed;
  }
  return std::nullopt;
}

// Of sizes that files and streams may have.
inline constexpr int64_t kMostSize = int64_t{1} << 62;

}  // namespace fmtc::codec
