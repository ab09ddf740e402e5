// Whole streams, as they are and with their checksums made right: a codec (input.h), then the
// bytes.

#include "core/positions.h"
#include "input.h"
#include "stream_repair.h"

namespace fmtc {
namespace {

constexpr uint64_t kMostValues = 4096;  // beyond it is only slower

// What was accepted must come back from the encoder: the same bytes where there are no others.
void encode_again(const StreamHeader& header, const FuzzCodec& codec,
                  std::span<const uint8_t> bytes, std::span<const int16_t> levels) {
  std::vector<uint8_t> out(stream_bound(header));
  size_t used = 0;
  FMTC_REQUIRE(stream_encode(header, levels, codec.encode_tables(header.plane()), out, used) ==
               Status::kOk);
  out.resize(used);
  if (one_payload_only(header.coder)) FMTC_REQUIRE(std::ranges::equal(out, bytes));
  std::vector<int16_t> again(levels.size());
  FMTC_REQUIRE(stream_decode(out, header, codec.decode_tables(header.plane()), again) ==
               Status::kOk);
  FMTC_REQUIRE(std::ranges::equal(again, levels));
}

void decode(std::span<const uint8_t> bytes, FuzzCodec& codec) {
  StreamHeader header;
  size_t size = 0;
  if (read_header(bytes, header, size) != Status::kOk) return;
  FMTC_REQUIRE(size <= bytes.size() && check_shape(header) == Status::kOk);
  FMTC_REQUIRE(header.values() <= kMaxValuesPerDigit * bytes.size());
  const uint64_t segments = header.layout().segments();
  if (header.values() > kMostValues || segments > kMostValues) return;
  codec.set_segments(segments);
  StreamHeader expected = header;
  expected.coder = codec.coder;
  std::vector<int16_t> levels(header.values(), -1);
  const Status status = stream_decode(bytes, expected, codec.decode_tables(header.plane()), levels);
  FMTC_REQUIRE((status == Status::kBadCoder) ==
               (header.coder != codec.coder && size == bytes.size()));
  FMTC_REQUIRE((status == Status::kTrailingBytes) == (size != bytes.size()));
  if (status == Status::kOk) {
    if (codec.can_encode(levels)) encode_again(header, codec, bytes, levels);
    if (header.classes > 1) {
      std::vector<int16_t> image(header.layout().levels());
      const Status restored = restore(levels, header.layout(), image);
      FMTC_REQUIRE(restored == Status::kOk || restored == Status::kBadCode);
    }
    return;
  }
  FMTC_REQUIRE(status == Status::kBadCoder || status == Status::kTrailingBytes ||
               status == Status::kBadChunkChecksum || status == Status::kBadCode);
  FMTC_REQUIRE(std::ranges::count(levels, 0) == std::ssize(levels));
}

}  // namespace
}  // namespace fmtc

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fmtc::Input input(data, size);
  const fmtc::Coder coder = fmtc::take_coder(input);
  fmtc::FuzzCodec codec(coder, input);
  fmtc::decode(input.rest(), codec);
  std::vector<uint8_t> repaired(input.rest().begin(), input.rest().end());
  fmtc::repair_checksums(repaired);
  fmtc::decode(repaired, codec);
  return 0;
}
