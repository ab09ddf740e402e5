#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "core/status.h"

namespace fmtc {

// The bundle, version 1 (docs/stream_format.md): the streams of several images and tensors in one
// piece. Its head - fields, names of the tensors, directory, checksum - comes first and is all that
// has to be read to find any stream. What the streams are is not the bundle's business.
//
// Writing:  bundle_size(names, streams, size); write_bundle(names, streams, out, used).
// Reading:  open_bundle(bytes, header); find_stream(header, bytes, image, tensor);
//           check_stream(bytes.subspan(stream.begin, stream.size), stream).
// Of a file, the head alone: read_bundle_fields of its first kMaxBundleFieldBytes says how long it
// is, read_bundle_head what the whole bundle must measure.

inline constexpr uint8_t kBundleVersion = 1;
inline constexpr uint32_t kMaxBundleTensors = 1024;
inline constexpr uint64_t kMaxBundleStreams = uint64_t{1} << 24;
inline constexpr size_t kMaxNameBytes = 255;
inline constexpr size_t kBundleEntryBytes = 8;
// Magic, version, two numbers and the names: no directory begins further back.
inline constexpr size_t kMaxBundleFieldBytes = 3 + 2 * 5 + kMaxBundleTensors * (1 + kMaxNameBytes);

// The fields; every number of a bundle that read_bundle_fields accepted is within its limits.
struct BundleHeader {
  uint32_t images = 0;   // N
  uint32_t tensors = 1;  // T
  size_t names = 0;      // where they begin
  size_t directory = 0;  // where it begins

  uint64_t streams() const noexcept { return uint64_t{images} * tensors; }
  // Fields, names, directory, checksum: where the first stream begins.
  size_t head_bytes() const noexcept {
    return directory + static_cast<size_t>(streams()) * kBundleEntryBytes + 4;
  }
};

// Where a stream lies in the bundle, and the CRC-32 of its bytes.
struct BundleStream {
  uint64_t begin = 0;
  uint32_t size = 0;
  uint32_t checksum = 0;
};

// Whether bytes begin as a bundle does, and as no stream does.
bool is_bundle(std::span<const uint8_t> bytes) noexcept;

// At most 255 bytes of UTF-8 without control characters (U+0000 to U+001F, U+007F to U+009F).
bool name_valid(std::string_view name) noexcept;

// Reads and checks what precedes the directory; `bytes` are the first of a bundle, and more may
// follow. kTruncated where more are needed.
Status read_bundle_fields(std::span<const uint8_t> bytes, BundleHeader& header) noexcept;

// Reads and checks the head. `size` becomes the size of the whole bundle; `bytes` are its first
// head_bytes() at least.
Status read_bundle_head(std::span<const uint8_t> bytes, BundleHeader& header,
                        uint64_t& size) noexcept;

// The same for a whole bundle: `bytes` must end where it ends (kTruncated, kTrailingBytes).
// Nothing is said of the streams yet; see check_stream.
Status open_bundle(std::span<const uint8_t> bytes, BundleHeader& header) noexcept;

// The functions below take header and bytes (of the head at least) as those above accepted them.

// The name of a tensor, below header.tensors; a view into `bytes`.
std::string_view bundle_name(const BundleHeader& header, std::span<const uint8_t> bytes,
                             uint32_t tensor) noexcept;

// Where the stream of an image and a tensor lies: adds up the sizes of those before it.
BundleStream find_stream(const BundleHeader& header, std::span<const uint8_t> bytes, uint32_t image,
                         uint32_t tensor) noexcept;

// Where all of them lie, image after image and for each its tensors.
//   streams  [header.streams()]
void list_streams(const BundleHeader& header, std::span<const uint8_t> bytes,
                  std::span<BundleStream> streams) noexcept;

// kWrongStream where these bytes are not those of the stream that was written here.
Status check_stream(std::span<const uint8_t> stream, const BundleStream& expected) noexcept;

// The bytes that a bundle of these streams has.
//   names    of the tensors, [T]
//   streams  [N * T], image after image and for each its tensors
// kBadName where a name is not valid or is there twice; kBadArgument where streams.size() is no
// multiple of T; kTooLarge beyond the limits above or for a stream of 4 GiB or more.
Status bundle_size(std::span<const std::string_view> names,
                   std::span<const std::span<const uint8_t>> streams, uint64_t& size) noexcept;

// Writes it to the first `used` bytes of `out`; no others are touched. The streams may not lie in
// `out`. kBufferTooSmall, or as bundle_size.
Status write_bundle(std::span<const std::string_view> names,
                    std::span<const std::span<const uint8_t>> streams, std::span<uint8_t> out,
                    size_t& used) noexcept;

// As message(status), in the words for a bundle.
const char* bundle_message(Status status) noexcept;

}  // namespace fmtc
