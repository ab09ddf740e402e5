// Levels into a stream and back, with the core alone: counts -> frequencies -> tables -> stream.
#include <fmtc/core/histogram.h>
#include <fmtc/core/rans.h>
#include <fmtc/core/stream.h>

#include <cstdio>
#include <cstdlib>
#include <vector>

namespace {

constexpr uint32_t kComponents = 2, kHeight = 16, kWidth = 16;
constexpr int kLog2Total = 12;
constexpr int16_t kLo = -3, kHi = 3;
constexpr size_t kSymbols = kHi - kLo + 1;

void check(fmtc::Status status) {
  if (status == fmtc::Status::kOk) return;
  std::fprintf(stderr, "fmtc: %s\n", fmtc::message(status));
  std::exit(1);
}

}  // namespace

int main() {
  std::vector<int16_t> levels(kComponents * kHeight * kWidth);
  for (size_t i = 0; i < levels.size(); ++i) {
    levels[i] = static_cast<int16_t>(i * i % 31 == 0 ? i % kSymbols + kLo : 0);
  }

  // One table for both components, from the levels themselves.
  std::vector<int64_t> counts(kSymbols);
  check(fmtc::histogram(levels, kLo, kHi, counts));
  std::vector<int32_t> frequencies(kSymbols + 1);
  check(fmtc::rans_frequencies(counts, kLog2Total, frequencies));
  std::vector<uint32_t> encode_table(frequencies.size()), decode_table(size_t{1} << kLog2Total);
  std::vector<int64_t> base(1);
  const std::vector<int64_t> table_of(kComponents, 0);
  check(fmtc::rans_encode_table(frequencies, encode_table));
  check(fmtc::rans_decode_table(frequencies, decode_table, base[0]));

  const fmtc::StreamHeader header =
      fmtc::make_header(fmtc::Coder::kRans, kComponents, kHeight, kWidth, /*table_id=*/7);
  fmtc::ComponentTables tables = {kLo,      encode_table.size(), encode_table,
                                  table_of, header.plane(),      {}};
  check(fmtc::check_encode_tables(header, tables));
  std::vector<uint8_t> stream(fmtc::stream_bound(header));
  size_t used = 0;
  check(fmtc::stream_encode(header, levels, tables, stream, used));
  stream.resize(used);

  tables.width = decode_table.size();
  tables.entries = decode_table;
  tables.base = base;
  std::vector<int16_t> decoded(levels.size());
  check(fmtc::stream_decode(stream, header, tables, decoded));
  std::printf("%zu levels in %zu bytes, %s\n", levels.size(), used,
              decoded == levels ? "decoded exactly" : "DECODED WRONG");
  return decoded == levels ? 0 : 1;
}
