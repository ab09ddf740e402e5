// ZIP archives such as .npz, as they are and with the checksums of their files made right, and the
// arrays in them.

#include <zlib.h>

#include "codec/npy.h"
#include "core/bytes.h"
#include "core/crc32.h"
#include "infer/image.h"
#include "infer/zip.h"
#include "input.h"

namespace fmtc {
namespace {

constexpr uint64_t kMostBytes = 1 << 20;  // unpacked; beyond it is only slower

void read(std::span<const uint8_t> bytes) {
  try {
    const infer::ZipArchive archive(bytes);
    if (archive.unpacked_bytes() > kMostBytes) return;
    for (const std::string& name : archive.names()) {
      FMTC_REQUIRE(archive.has(name));
      const std::vector<uint8_t> file = archive.read(name);
      FMTC_REQUIRE(file.size() <= archive.unpacked_bytes());
      codec::parse_npy(file);
    }
  } catch (const infer::Error&) {
    return;
  } catch (const codec::Error&) {
    return;
  }
}

// Of what is packed, as far as it can be unpacked.
uint32_t checksum_of(std::span<const uint8_t> packed, bool deflated, uint32_t size) {
  if (!deflated) return crc32(packed);
  std::vector<uint8_t> bytes(std::min<uint64_t>(size, kMostBytes));
  z_stream stream = {};
  FMTC_REQUIRE(inflateInit2(&stream, -MAX_WBITS) == Z_OK);
  stream.next_in = const_cast<uint8_t*>(packed.data());
  stream.avail_in = static_cast<uInt>(packed.size());
  stream.next_out = bytes.data();
  stream.avail_out = static_cast<uInt>(bytes.size());
  inflate(&stream, Z_FINISH);
  bytes.resize(stream.total_out);
  inflateEnd(&stream);
  return crc32(bytes);
}

// The checksums that a directory holds; fields as in csrc/infer/zip.cpp.
void repair(std::span<uint8_t> bytes) {
  constexpr uint32_t kCentral = 0x02014b50;
  constexpr size_t kCentralBytes = 46, kLocalBytes = 30;
  const auto at = [&](size_t place) { return bytes.data() + place; };
  for (size_t entry = 0; entry + kCentralBytes <= bytes.size(); ++entry) {
    if (load_le<uint32_t>(at(entry)) != kCentral) continue;
    const auto packed = load_le<uint32_t>(at(entry + 20));
    const auto local = load_le<uint32_t>(at(entry + 42));
    if (local > bytes.size() || bytes.size() - local < kLocalBytes) continue;
    const size_t names =
        size_t{load_le<uint16_t>(at(local + 26))} + load_le<uint16_t>(at(local + 28));
    const size_t begin = local + kLocalBytes + names;
    if (begin > bytes.size() || packed > bytes.size() - begin) continue;
    const bool deflated = load_le<uint16_t>(at(entry + 10)) != 0;
    store_le(at(entry + 16), checksum_of(bytes.subspan(begin, packed), deflated,
                                         load_le<uint32_t>(at(entry + 24))));
  }
}

}  // namespace
}  // namespace fmtc

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fmtc::read({data, size});
  std::vector<uint8_t> repaired(data, data + size);
  fmtc::repair(repaired);
  fmtc::read(repaired);
  return 0;
}
