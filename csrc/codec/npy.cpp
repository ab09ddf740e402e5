#include "codec/npy.h"

#include <algorithm>
#include <charconv>
#include <string>
#include <string_view>
#include <utility>

#include "core/bytes.h"

namespace fmtc::codec {
namespace {

constexpr std::string_view kMagic = "\x93NUMPY";
constexpr size_t kVersionBytes = 2;
constexpr size_t kAlignment = 64;  // of the data in the file
// What NumPy takes, too.
constexpr size_t kMostHeader = 10'000;
constexpr size_t kMostDimensions = 64;
constexpr std::pair<const char*, const char*> kTypes[] = {
    {"<f2", "F16"},  {"<f4", "F32"}, {"<f8", "F64"}, {"|i1", "I8"},
    {"|u1", "U8"},   {"<i2", "I16"}, {"<i4", "I32"}, {"<i8", "I64"},
    {"|b1", "BOOL"}, {"<u2", "U16"}, {"<u4", "U32"}, {"<u8", "U64"}};

std::string dtype_of(const std::string& descr) {
  for (const auto& [name, dtype] : kTypes) {
    if (descr == name) return dtype;
  }
  throw Error("its numbers are of NumPy's type '" + descr + "', which is not known here");
}

// The header: the text of a Python dictionary with three keys, in any order. Read from the front.
class HeaderText {
 public:
  explicit HeaderText(std::string_view text) : rest_(text) {}

  struct Fields {
    std::string descr;
    bool fortran_order = false;
    std::vector<int64_t> shape;
  };
  Fields parse() {
    Fields fields;
    unsigned seen = 0;
    expect('{');
    while (!skip('}')) {
      const std::string key = quoted();
      expect(':');
      if (key == "descr") {
        fields.descr = quoted();
        seen += 1;
      } else if (key == "fortran_order") {
        fields.fortran_order = truth();
        seen += 1 << 4;
      } else if (key == "shape") {
        fields.shape = tuple();
        seen += 1 << 8;
      } else {
        fail();
      }
      if (!skip(',') && !next_is('}')) fail();
    }
    skip_blanks();
    if (seen != 0x111 || !rest_.empty()) fail();
    return fields;
  }

 private:
  [[noreturn]] static void fail() { throw Error("its header is not one of a .npy file"); }

  void skip_blanks() {
    rest_.remove_prefix(std::min(rest_.find_first_not_of(" \t\n\r\f"), rest_.size()));
  }
  bool next_is(char wanted) {
    skip_blanks();
    return !rest_.empty() && rest_.front() == wanted;
  }
  bool skip(char wanted) {
    if (!next_is(wanted)) return false;
    rest_.remove_prefix(1);
    return true;
  }
  void expect(char wanted) {
    if (!skip(wanted)) fail();
  }
  bool skip_word(std::string_view word) {
    skip_blanks();
    if (!rest_.starts_with(word)) return false;
    rest_.remove_prefix(word.size());
    return true;
  }

  // A string without escapes.
  std::string quoted() {
    const char quote = next_is('"') ? '"' : '\'';
    expect(quote);
    const size_t end = rest_.find(quote);
    const std::string text(rest_.substr(0, end));
    if (end == std::string_view::npos || text.find_first_of("\\\n") != std::string::npos) fail();
    rest_.remove_prefix(end + 1);
    return text;
  }
  bool truth() {
    if (skip_word("True")) return true;
    if (!skip_word("False")) fail();
    return false;
  }
  int64_t number() {
    skip_blanks();
    int64_t value = 0;
    const auto [end, error] = std::from_chars(rest_.data(), rest_.data() + rest_.size(), value);
    const auto digits = static_cast<size_t>(end - rest_.data());
    if (error != std::errc() || value < 0 || rest_.front() == '-') fail();
    if (digits > 1 && rest_.front() == '0') fail();
    rest_.remove_prefix(digits);
    skip_word("L");  // of Python 2
    return value;
  }
  std::vector<int64_t> tuple() {
    std::vector<int64_t> values;
    expect('(');
    while (!skip(')')) {
      values.push_back(number());
      if (values.size() > kMostDimensions) throw Error("it has too many dimensions");
      // One number in parentheses is a number.
      if (!skip(',') && (values.size() == 1 || !next_is(')'))) fail();
    }
    return values;
  }

  std::string_view rest_;
};

}  // namespace

Array parse_npy(std::span<const uint8_t> file) {
  const size_t before = kMagic.size() + kVersionBytes;
  if (file.size() < before + 4 ||
      !std::equal(kMagic.begin(), kMagic.end(), reinterpret_cast<const char*>(file.data()))) {
    throw Error("it does not begin as a .npy file does");
  }
  const uint8_t version = file[kMagic.size()];
  if (version < 1 || version > 3 || file[kMagic.size() + 1] != 0) {
    throw Error("it has a version of the .npy format that is not known here");
  }
  const bool wide = version >= 2;  // version 1 counts the header in 16 bits
  const size_t length =
      wide ? load_le<uint32_t>(file.data() + before) : load_le<uint16_t>(file.data() + before);
  const size_t begin = before + (wide ? 4 : 2);
  if (length > file.size() - begin) throw Error("its header is cut off");
  if (length > kMostHeader) throw Error("its header is too long");
  const auto* text = reinterpret_cast<const char*>(file.data()) + begin;
  const HeaderText::Fields fields = HeaderText({text, length}).parse();
  if (fields.fortran_order && fields.shape.size() > 1) {
    throw Error("it is in Fortran's order; save numpy.ascontiguousarray(x)");
  }
  Array array;
  array.dtype = dtype_of(fields.descr);
  array.shape = fields.shape;
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
