// The reader of .npy files.

#include "codec/npy.h"
#include "input.h"

namespace fmtc {
namespace {

void read(std::span<const uint8_t> bytes) {
  try {
    const codec::Array array = codec::parse_npy(bytes);
    const size_t values = codec::value_count(array.shape);
    FMTC_REQUIRE(array.bytes.size() <= bytes.size());
    FMTC_REQUIRE(values == 0 ? array.bytes.empty() : array.bytes.size() % values == 0);
    if (array.dtype != "F32" && array.dtype != "I16") return;
    const codec::Array again = codec::parse_npy(codec::make_npy(array));
    FMTC_REQUIRE(again.dtype == array.dtype && again.shape == array.shape);
    FMTC_REQUIRE(again.bytes == array.bytes);
  } catch (const codec::Error&) {
    return;
  }
}

}  // namespace
}  // namespace fmtc

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fmtc::read({data, size});
  return 0;
}
