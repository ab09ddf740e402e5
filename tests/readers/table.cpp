// fmtc_table FILE.json: the table that fmtc_eval prints of a result; for tests beside Python's.
#include "infer/table.h"

#include <cstdio>
#include <exception>
#include <nlohmann/json.hpp>

#include "codec/file.h"

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  try {
    const auto bytes = fmtc::codec::read_file(argv[1], fmtc::codec::kDefaultMaxBytes);
    const auto result = nlohmann::json::parse(bytes.begin(), bytes.end());
    std::fputs(fmtc::infer::result_table(result).c_str(), stdout);
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 2;
  }
}
