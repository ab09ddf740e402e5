#include "codec/npy.h"

#include <algorithm>
#include <charconv>
#include <regex>
#include <string>
#include <string_view>
#include <utility>

#include "core/bytes.h"

namespace fmtc::codec {
namespace {

constexpr std::string_view kMagic = "\x93NUMPY";
constexpr size_t kVersionBytes = 2;
constexpr size_t kAlignment = 64;  // of the data in the file
constexpr std::pair<const char*, const char*> kTypes[] = {
    {"<f2", "F16"}, {"<f4", "F32"}, {"<f8", "F64"}, {"|i1", "I8"},  {"|u1", "U8"},
    {"<i2", "I16"}, {"<i4", "I32"}, {"<i8", "I64"}, {"|b1", "BOOL"}};

std::string dtype_of(const std::string& descr) {
  for (const auto& [name, dtype] : kTypes) {
    if (descr == name) return dtype;
  }
  throw Error("its numbers are of NumPy's type '" + descr + "', which is not known here");
}

std::vector<int64_t> parse_shape(const std::string& text) {
  std::vector<int64_t> shape;
  const char* at = text.data();
  const char* const end = at + text.size();
  while (at != end) {
    if (*at == ' ' || *at == ',') {
      ++at;
      continue;
    }
    int64_t size = 0;
    const auto [next, error] = std::from_chars(at, end, size);
    if (error != std::errc() || size < 0) throw Error("its shape (" + text + ") is none");
    shape.push_back(size);
    at = next;
  }
  return shape;
}

// The header is the text of a Python dictionary with these keys, in any order.
std::string field(const std::string& header, const char* pattern) {
  std::smatch match;
  if (!std::regex_search(header, match, std::regex(pattern))) {
    throw Error("its header is not one of a .npy file");
  }
  return match[1];
}

}  // namespace

Array parse_npy(std::span<const uint8_t> file) {
  const size_t before = kMagic.size() + kVersionBytes;
  if (file.size() < before + 4 ||
      !std::equal(kMagic.begin(), kMagic.end(), reinterpret_cast<const char*>(file.data()))) {
    throw Error("it does not begin as a .npy file does");
  }
  const bool wide = file[kMagic.size()] >= 2;  // version 1 counts the header in 16 bits
  const size_t length =
      wide ? load_le<uint32_t>(file.data() + before) : load_le<uint16_t>(file.data() + before);
  const size_t begin = before + (wide ? 4 : 2);
  if (length > std::min<size_t>(file.size() - begin, 1 << 16)) throw Error("its header is cut off");
  const std::string header(file.begin() + static_cast<ptrdiff_t>(begin),
                           file.begin() + static_cast<ptrdiff_t>(begin + length));
  if (field(header, "'fortran_order': *(True|False)") == "True") {
    throw Error("it is in Fortran's order; save numpy.ascontiguousarray(x)");
  }
  Array array;
  array.dtype = dtype_of(field(header, "'descr': *'([^']*)'"));
  array.shape = parse_shape(field(header, "'shape': *\\(([0-9, ]*)\\)"));
  const size_t size = value_count(array.shape) * item_size(array.dtype);
  const auto data = file.subspan(begin + length);
  if (data.size() != size) {
    throw Error("it holds " + std::to_string(data.size()) + " bytes of data, but " +
                shape_text(array.shape) + " " + array.dtype + " are " + std::to_string(size));
  }
  array.bytes.assign(data.begin(), data.end());
  return array;
}

std::vector<uint8_t> make_npy(const Array& array) {
  std::string shape;
  for (const int64_t size : array.shape) shape += std::to_string(size) + ", ";
  const std::string descr = array.dtype == "I16" ? "<i2" : "<f4";
  std::string header =
      "{'descr': '" + descr + "', 'fortran_order': False, 'shape': (" + shape + "), }";
  const size_t before = kMagic.size() + kVersionBytes + 2;
  header.append(kAlignment - 1 - (before + header.size()) % kAlignment, ' ');
  header += '\n';
  std::vector<uint8_t> file(before + header.size() + array.bytes.size());
  std::ranges::copy(kMagic, file.begin());
  file[kMagic.size()] = 1;  // version 1.0
  store_le(file.data() + before - 2, static_cast<uint16_t>(header.size()));
  std::ranges::copy(header, file.begin() + static_cast<ptrdiff_t>(before));
  std::ranges::copy(array.bytes, file.end() - static_cast<ptrdiff_t>(array.bytes.size()));
  return file;
}

}  // namespace fmtc::codec
