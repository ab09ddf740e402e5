// The reader of safetensors files. The mutator changes the header alone every other time, and says
// the right length of it.

#include "files.h"

namespace fmtc {
namespace {

void read(std::span<const uint8_t> bytes) {
  try {
    const codec::Safetensors file(bytes);
    size_t total = 0;
    for (const auto& [name, entry] : file.entries()) {
      const codec::Array array = file.tensor(name);
      const size_t values = codec::value_count(array.shape);
      FMTC_REQUIRE(values == 0 ? array.bytes.empty() : array.bytes.size() % values == 0);
      total += array.bytes.size();
    }
    FMTC_REQUIRE(total < bytes.size());
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

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t most, unsigned seed) {
  using namespace fmtc;
  if (seed % 2 == 0 || size < kLengthBytes) return LLVMFuzzerMutate(data, size, most);
  const auto length = load_le<uint64_t>(data);
  if (length > size - kLengthBytes) return LLVMFuzzerMutate(data, size, most);
  const std::string text(reinterpret_cast<const char*>(data) + kLengthBytes, size - kLengthBytes);
  const std::string rest = text.substr(length);
  const std::string header = mutated(text.substr(0, length), most - kLengthBytes - rest.size());
  return hand_back(with_length(header, rest), data, size, most);
}
