// Files of streams, bundles and back to back, as the programs read them: part by part.

#include <sys/mman.h>
#include <unistd.h>

#include "bundle_repair.h"
#include "codec/error.h"
#include "codec/stream_file.h"
#include "input.h"

namespace fmtc {
namespace {

void read_all(codec::StreamFile& file) {
  uint64_t total = 0;
  for (size_t image = 0; image < file.images(); ++image) {
    for (size_t tensor = 0; tensor < file.names().size(); ++tensor) {
      StreamHeader header;
      total += file.stream(image, tensor, header).size();
      FMTC_REQUIRE(check_shape(header) == Status::kOk);
    }
  }
  FMTC_REQUIRE(total + file.head_bytes() == file.bytes());
  for (size_t tensor = 0; tensor < file.names().size(); ++tensor) {
    const std::vector<uint8_t> streams = file.streams(tensor);
    if (!file.is_bundle()) FMTC_REQUIRE(streams.size() == file.bytes());
    const std::vector<uint8_t> again = codec::make_bundle(streams, file.names()[tensor]);
    FMTC_REQUIRE(again.size() > streams.size());
  }
}

void read(std::span<const uint8_t> bytes) {
  static const int kMemory = memfd_create("input", 0);
  static const std::string kPath = "/proc/self/fd/" + std::to_string(kMemory);
  FMTC_REQUIRE(ftruncate(kMemory, 0) == 0);
  FMTC_REQUIRE(pwrite(kMemory, bytes.data(), bytes.size(), 0) == std::ssize(bytes));
  try {
    codec::StreamFile file(kPath, 1 << 20);
    read_all(file);
  } catch (const codec::Error&) {
    return;
  }
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
