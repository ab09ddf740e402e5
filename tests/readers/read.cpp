// What the C++ readers make of a file, for tests: read KIND FILE, with a kind of npy, safetensors
// or image. Prints types and shapes, then the bytes; exit 1 and a sentence where the file is
// refused.
#include <cstdio>
#include <exception>
#include <span>
#include <string>

#include "codec/error.h"
#include "codec/file.h"
#include "codec/npy.h"
#include "codec/safetensors.h"
#include "infer/image.h"

namespace {

void print(const std::string& name, const fmtc::codec::Array& array) {
  std::printf("%s %s %s\n", name.c_str(), array.dtype.c_str(),
              fmtc::codec::shape_text(array.shape).c_str());
  if (!array.bytes.empty()) std::fwrite(array.bytes.data(), 1, array.bytes.size(), stdout);
}

void read(const std::string& kind, const std::string& path) {
  if (kind == "image") {
    const fmtc::infer::Image image = fmtc::infer::read_image(path, 3);
    std::printf("image U8 [%lld, %lld, 3]\n", static_cast<long long>(image.height),
                static_cast<long long>(image.width));
    std::fwrite(image.data.get(), 1, image.pixels().size(), stdout);
    return;
  }
  const auto bytes = fmtc::codec::read_file(path, fmtc::codec::kDefaultMaxBytes);
  if (kind == "npy") return print("array", fmtc::codec::parse_npy(bytes));
  const fmtc::codec::Safetensors file(bytes);
  for (const auto& [name, entry] : file.entries()) print(name, file.tensor(name));
}

}  // namespace

int main(int, char** argv) {
  try {
    read(argv[1], argv[2]);
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "read: %s\n", fmtc::codec::printable(error.what()).c_str());
    return 2;
  }
}
