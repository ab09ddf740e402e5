// Bundles, as they are and with their checksums made right.

#include <string_view>

#include "bundle_repair.h"
#include "core/bundle.h"
#include "input.h"

namespace fmtc {
namespace {

// What was accepted must come back from the writer, but for streams that are damaged.
void write_again(const BundleHeader& header, std::span<const uint8_t> bytes,
                 std::span<const std::span<const uint8_t>> streams, bool intact) {
  std::vector<std::string_view> names;
  for (uint32_t t = 0; t < header.tensors; ++t) names.push_back(bundle_name(header, bytes, t));
  uint64_t size = 0;
  FMTC_REQUIRE(bundle_size(names, streams, size) == Status::kOk && size == bytes.size());
  std::vector<uint8_t> out(bytes.size());
  size_t used = 0;
  FMTC_REQUIRE(write_bundle(names, streams, out, used) == Status::kOk && used == out.size());
  FMTC_REQUIRE(std::ranges::equal(out, bytes) == intact);
}

void read(std::span<const uint8_t> bytes) {
  BundleHeader header;
  uint64_t size = 0;
  const Status head = read_bundle_head(bytes, header, size);
  const Status status = open_bundle(bytes, header);
  if (head != Status::kOk) {
    FMTC_REQUIRE(status == head);
    return;
  }
  FMTC_REQUIRE(is_bundle(bytes) && header.tensors > 0 && header.head_bytes() <= bytes.size());
  FMTC_REQUIRE((status == Status::kTruncated) == (bytes.size() < size));
  FMTC_REQUIRE((status == Status::kTrailingBytes) == (bytes.size() > size));
  std::vector<BundleStream> all(header.streams());
  list_streams(header, bytes, all);
  FMTC_REQUIRE(all.empty() || all.back().begin + all.back().size == size);
  if (status != Status::kOk) return;
  std::vector<std::span<const uint8_t>> streams;
  bool intact = true;
  for (size_t i = 0; i < all.size(); ++i) {
    const auto image = static_cast<uint32_t>(i / header.tensors);
    const BundleStream found =
        find_stream(header, bytes, image, static_cast<uint32_t>(i % header.tensors));
    FMTC_REQUIRE(found.begin == all[i].begin && found.size == all[i].size);
    FMTC_REQUIRE(found.begin >= header.head_bytes() && found.begin + found.size <= size);
    streams.push_back(bytes.subspan(static_cast<size_t>(found.begin), found.size));
    intact &= check_stream(streams.back(), found) == Status::kOk;
  }
  write_again(header, bytes, streams, intact);
}

}  // namespace
}  // namespace fmtc

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fmtc::read({data, size});
  std::vector<uint8_t> repaired(data, data + size);
  fmtc::repair_bundle(repaired);
  fmtc::read(repaired);
  return 0;
}
