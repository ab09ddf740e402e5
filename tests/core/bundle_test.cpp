#include "core/bundle.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "bundle_repair.h"
#include "core/bytes.h"
#include "core/crc32c.h"
#include "stream_fixture.h"

namespace fmtc {
namespace {

using Bytes = std::vector<uint8_t>;

// Names and, image after image, streams.
struct Content {
  std::vector<std::string> names;
  std::vector<Bytes> streams;

  Status size(uint64_t& bytes) const { return bundle_size(views(), spans(), bytes); }
  Status write(std::span<uint8_t> out, size_t& used) const {
    return write_bundle(views(), spans(), out, used);
  }
  Bytes bundle() const {
    uint64_t bytes = 0;
    EXPECT_EQ(size(bytes), Status::kOk);
    Bytes made(bytes);
    size_t used = 0;
    EXPECT_EQ(write(made, used), Status::kOk);
    EXPECT_EQ(used, made.size());
    return made;
  }

 private:
  std::vector<std::string_view> views() const { return {names.begin(), names.end()}; }
  std::vector<std::span<const uint8_t>> spans() const { return {streams.begin(), streams.end()}; }
};

Content content_of(size_t images, std::vector<std::string> names, size_t longest = 30) {
  std::mt19937 random(static_cast<uint32_t>(images));
  Content content = {std::move(names), {}};
  content.streams.resize(images * content.names.size());
  for (Bytes& stream : content.streams) {
    stream.resize(random() % (longest + 1));
    std::ranges::generate(stream, [&] { return static_cast<uint8_t>(random()); });
  }
  return content;
}

Status open(const Bytes& bundle) {
  BundleHeader header;
  return open_bundle(bundle, header);
}

// Of the bundle and all streams in it.
Status open_all(const Bytes& bundle) {
  BundleHeader header;
  const Status status = open_bundle(bundle, header);
  if (status != Status::kOk) return status;
  for (uint32_t i = 0; i < header.images; ++i) {
    for (uint32_t t = 0; t < header.tensors; ++t) {
      const BundleStream stream = find_stream(header, bundle, i, t);
      const Status found = check_stream(
          std::span(bundle).subspan(static_cast<size_t>(stream.begin), stream.size), stream);
      if (found != Status::kOk) return found;
    }
  }
  return Status::kOk;
}

void expect_round_trip(const Content& content) {
  const Bytes bundle = content.bundle();
  BundleHeader header;
  ASSERT_EQ(open_bundle(bundle, header), Status::kOk);
  ASSERT_EQ(header.tensors, content.names.size());
  ASSERT_EQ(header.streams(), content.streams.size());
  for (uint32_t t = 0; t < header.tensors; ++t) {
    EXPECT_EQ(bundle_name(header, bundle, t), content.names[t]);
  }
  std::vector<BundleStream> all(content.streams.size());
  list_streams(header, bundle, all);
  for (uint32_t i = 0; i < all.size(); ++i) {
    const BundleStream found = find_stream(header, bundle, i / header.tensors, i % header.tensors);
    EXPECT_EQ(found.begin, all[i].begin);
    EXPECT_EQ(found.size, all[i].size);
    const auto stream = std::span(bundle).subspan(static_cast<size_t>(found.begin), found.size);
    EXPECT_TRUE(std::ranges::equal(stream, content.streams[i]));
    EXPECT_EQ(check_stream(stream, found), Status::kOk);
    EXPECT_EQ(check_stream(stream, all[i]), Status::kOk);
  }
}

TEST(Bundle, RoundTrip) {
  for (const size_t images : {0, 1, 2, 7, 130}) {
    for (const std::vector<std::string>& names :
         std::vector<std::vector<std::string>>{{""},
                                               {"x"},
                                               {"layer3", "layer4"},
                                               {"p2", "", "p3"},
                                               {"\u00e9", "\u2113", "\U0001f600"}}) {
      expect_round_trip(content_of(images, names));
    }
  }
  expect_round_trip(content_of(3, {"empty", "streams"}, 0));
  std::vector<std::string> names;
  for (uint32_t t = 0; t < kMaxBundleTensors; ++t) {
    names.push_back(std::to_string(t) + std::string(251, 'n'));
  }
  expect_round_trip(content_of(2, names));
}

// The example of docs/stream_format.md.
TEST(Bundle, DocumentExample) {
  const Content content = {{"a", "\u00e9"}, {{1}, {2, 3}, {}, {4}}};
  EXPECT_EQ(content.bundle(),
            (Bytes{0x66, 0x62, 0x01, 0x02, 0x02, 0x01, 0x61, 0x02, 0xC3, 0xA9, 0x01, 0x00, 0x00,
                   0x00, 0x1B, 0xDF, 0x05, 0xA5, 0x02, 0x00, 0x00, 0x00, 0xC7, 0x21, 0xE6, 0xEA,
                   0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x94,
                   0x2B, 0x6F, 0xD5, 0x8A, 0x29, 0xD7, 0x65, 0x01, 0x02, 0x03, 0x04}));
}

TEST(Bundle, IsNotLongerThanItMustBe) {
  // Magic, version, N, T, no name; an entry each; a checksum.
  for (const size_t images : {0, 1, 8, 127}) {
    EXPECT_EQ(content_of(images, {""}, 0).bundle().size(), 3 + 1 + 1 + 1 + 8 * images + 4);
  }
  uint64_t size = 0;
  Content content = content_of(1, {"x"});
  ASSERT_EQ(content.size(size), Status::kOk);
  Bytes out(size + 3, 77);
  size_t used = 0;
  EXPECT_EQ(content.write(std::span(out).first(size - 1), used), Status::kBufferTooSmall);
  EXPECT_EQ(std::ranges::count(out, 77), static_cast<ptrdiff_t>(out.size()));
  EXPECT_EQ(content.write(out, used), Status::kOk);
  EXPECT_EQ(used, size);
  EXPECT_EQ(std::count(out.end() - 3, out.end(), 77), 3);
}

TEST(Bundle, IsNoStreamAndAStreamNoBundle) {
  const Bytes bundle = content_of(1, {""}).bundle();
  StreamHeader header;
  size_t size = 0;
  EXPECT_TRUE(is_bundle(bundle));
  EXPECT_EQ(read_header(bundle, header, size), Status::kBadMagic);
  const Case made = make_case(make_header(Coder::kRans, 2, 3, 4, 5), 1, 9, 1);
  EXPECT_FALSE(is_bundle(made.stream));
  EXPECT_FALSE(is_bundle({}));
  EXPECT_FALSE(is_bundle(std::span(bundle).first(1)));
  EXPECT_EQ(open(made.stream), Status::kBadMagic);
}

// -- Damage ---------------------------------------------------------------------------------------

std::vector<Content> small_contents() {
  return {content_of(0, {"x"}), content_of(1, {""}), content_of(3, {"a", "b"}),
          content_of(2, {"\u00e9", "", "layer1.0.relu"})};
}

TEST(Bundle, EveryFlippedBitIsNoticed) {
  for (const Content& content : small_contents()) {
    Bytes bundle = content.bundle();
    for (size_t bit = 0; bit < 8 * bundle.size(); ++bit) {
      bundle[bit / 8] ^= static_cast<uint8_t>(1 << bit % 8);
      EXPECT_NE(open_all(bundle), Status::kOk) << "bit " << bit;
      bundle[bit / 8] ^= static_cast<uint8_t>(1 << bit % 8);
    }
    EXPECT_EQ(open_all(bundle), Status::kOk);
  }
}

TEST(Bundle, EveryTruncationAndExtensionIsNoticed) {
  for (const Content& content : small_contents()) {
    Bytes bundle = content.bundle();
    for (size_t size = 0; size < bundle.size(); ++size) {
      // Of its own size, so that a sanitizer sees what reads beyond it.
      const Bytes cut(bundle.begin(), bundle.begin() + static_cast<ptrdiff_t>(size));
      EXPECT_EQ(open(cut), Status::kTruncated) << size;
    }
    for (int more = 0; more < 3; ++more) {
      bundle.push_back(0);
      EXPECT_EQ(open(bundle), Status::kTrailingBytes);
    }
  }
}

TEST(Bundle, AHeadIsReadWithoutTheStreams) {
  const Bytes bundle = content_of(5, {"a", "b"}).bundle();
  BundleHeader header;
  ASSERT_EQ(open_bundle(bundle, header), Status::kOk);
  const Bytes head(bundle.begin(), bundle.begin() + static_cast<ptrdiff_t>(header.head_bytes()));
  BundleHeader again;
  uint64_t size = 0;
  EXPECT_EQ(read_bundle_head(head, again, size), Status::kOk);
  EXPECT_EQ(size, bundle.size());
  EXPECT_EQ(find_stream(again, head, 4, 1).begin + find_stream(again, head, 4, 1).size, size);
  EXPECT_LE(header.directory, kMaxBundleFieldBytes);
  EXPECT_EQ(read_bundle_fields(std::span(head).first(header.directory), again), Status::kOk);
  EXPECT_EQ(again.head_bytes(), head.size());
}

TEST(Bundle, StreamsThatChangedPlacesAreNoticed) {
  const Content content = content_of(2, {"a", "b"});
  for (size_t i = 0; i < content.streams.size(); ++i) {
    for (size_t j = 0; j < i; ++j) {
      Content other = content;
      std::swap(other.streams[i], other.streams[j]);
      // The head of one with the streams of the other.
      const Bytes head = content.bundle();
      Bytes mixed = other.bundle();
      std::copy_n(head.begin(), 3 + 1 + 1 + 2 * 2 + 8 * 4 + 4, mixed.begin());
      EXPECT_EQ(open_all(mixed), Status::kWrongStream);
    }
  }
}

// Nothing but zeros, 20 x 300 and 300 x 20: the streams differ in their fields alone, whose own
// checksum makes that invisible to any further CRC-32C.
TEST(Bundle, StreamsOfTheSamePayloadsAreToldApart) {
  for (const Coder coder : kCoders) {
    std::vector<Bytes> streams;
    for (const bool upright : {false, true}) {
      const uint32_t height = upright ? 300 : 20, width = upright ? 20 : 300;
      Case made = make_case(header_of(coder, 1, height, width, 8, 2), 1, 1, 1);
      std::ranges::fill(made.levels, int16_t{0});
      encode_whole(made);
      streams.push_back(made.stream);
    }
    ASSERT_EQ(streams[0].size(), streams[1].size());
    ASSERT_NE(streams[0], streams[1]);
    EXPECT_EQ(crc32c(streams[0]), crc32c(streams[1]));
    Bytes bundle = Content{{""}, {streams[0]}}.bundle();
    EXPECT_EQ(open_all(bundle), Status::kOk);
    std::ranges::copy(streams[1], bundle.end() - static_cast<ptrdiff_t>(streams[1].size()));
    EXPECT_EQ(open_all(bundle), Status::kWrongStream);
  }
}

// -- What no writer writes ------------------------------------------------------------------------

// A bundle of any fields and entries of (size, checksum), with a right checksum of the head.
Bytes raw(const Bytes& fields, const std::vector<std::pair<uint32_t, uint32_t>>& entries = {},
          const Bytes& streams = {}) {
  const Bytes begin = {'f', 'b', kBundleVersion};
  Bytes bundle(begin.size() + fields.size());  // GCC 12 warns of vectors that grow by another
  std::ranges::copy(fields, std::ranges::copy(begin, bundle.begin()).out);
  for (const auto& [size, checksum] : entries) {
    bundle.resize(bundle.size() + 8);
    store_le(bundle.data() + bundle.size() - 8, size);
    store_le(bundle.data() + bundle.size() - 4, checksum);
  }
  bundle.resize(bundle.size() + 4);
  store_le(bundle.data() + bundle.size() - 4, crc32c(std::span(bundle).first(bundle.size() - 4)));
  bundle.insert(bundle.end(), streams.begin(), streams.end());
  return bundle;
}

Bytes varint(uint64_t value) {
  Bytes bytes;
  for (; value >= 128; value >>= 7) bytes.push_back(static_cast<uint8_t>(value | 128));
  bytes.push_back(static_cast<uint8_t>(value));
  return bytes;
}

Bytes fields(uint64_t images, uint64_t tensors, const std::vector<std::string>& names) {
  Bytes bytes = varint(images);
  for (const uint8_t byte : varint(tensors)) bytes.push_back(byte);
  for (const std::string& name : names) {
    bytes.push_back(static_cast<uint8_t>(name.size()));
    bytes.insert(bytes.end(), name.begin(), name.end());
  }
  return bytes;
}

TEST(Bundle, RawOnesAreRight) {
  EXPECT_EQ(open_all(raw(fields(0, 1, {""}))), Status::kOk);
  EXPECT_EQ(open_all(raw(fields(1, 1, {"x"}), {{1, 0xE8B7BE43u}}, {'a'})), Status::kOk);
  EXPECT_EQ(open_all(raw(fields(1, 1, {"x"}), {{1, 0xE8B7BE42u}}, {'a'})), Status::kWrongStream);
}

TEST(Bundle, FieldsOutsideTheirLimits) {
  Bytes version = raw(fields(0, 1, {""}));
  version[2] = 2;
  EXPECT_EQ(open(version), Status::kBadVersion);
  EXPECT_EQ(open(raw(fields(0, 0, {}))), Status::kBadHeader);
  EXPECT_EQ(open(raw(fields(5, 0, {}))), Status::kBadHeader);
  EXPECT_EQ(open(raw(fields(0, 1025, {}))), Status::kBadHeader);
  EXPECT_EQ(open(raw(fields(uint64_t{1} << 24, 2, {"a", "b"}))), Status::kBadHeader);
  EXPECT_EQ(open(raw(fields((uint64_t{1} << 24) + 1, 1, {"a"}))), Status::kBadHeader);
  EXPECT_EQ(open(raw(fields(0xFFFFFFFF, 0xFFFFFFFF, {}))), Status::kBadHeader);
  EXPECT_EQ(open(raw(fields(uint64_t{1} << 32, 1, {"a"}))), Status::kBadNumber);
  EXPECT_EQ(open(raw({0x80, 0x00, 1, 0})), Status::kBadNumber);
  EXPECT_EQ(open(raw({0, 0x81, 0x00, 0})), Status::kBadNumber);
  EXPECT_EQ(open(raw({0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 1, 0})), Status::kBadNumber);
}

TEST(Bundle, ADirectoryThatIsNotThereIsNotRead) {
  EXPECT_EQ(open(raw(fields(uint64_t{1} << 24, 1, {"a"}))), Status::kTruncated);
  EXPECT_EQ(open(raw(fields(2, 1, {"a"}), {{0, 0}})), Status::kTruncated);
  EXPECT_EQ(open(raw(fields(1, 2, {"a"}))), Status::kTruncated);
  EXPECT_EQ(open(raw({1, 1, 200, 'a'})), Status::kTruncated);
}

TEST(Bundle, SizesThatAreNotThoseOfTheStreams) {
  const uint32_t most = 0xFFFFFFFF;
  EXPECT_EQ(open(raw(fields(1, 1, {"x"}), {{most, 0}}, {1, 2, 3})), Status::kTruncated);
  EXPECT_EQ(open(raw(fields(1, 1, {"x"}), {{2, 0}}, {1, 2, 3})), Status::kTrailingBytes);
  EXPECT_EQ(open(raw(fields(2, 1, {"x"}), {{most, 0}, {4, 0}}, {1, 2, 3})), Status::kTruncated);
  BundleHeader header;
  uint64_t size = 0;
  const Bytes large = raw(fields(3, 1, {"x"}), {{most, 0}, {most, 0}, {most, 0}});
  EXPECT_EQ(read_bundle_head(large, header, size), Status::kOk);
  EXPECT_EQ(size, large.size() + 3 * uint64_t{most});
}

TEST(Bundle, NamesThatAreNone) {
  for (const std::string_view good :
       {"", "a", "~", " ", "\u00a0", "\u07ff", "\u0800", "\ud7ff", "\ue000", "\uffff", "\U00010000",
        "\U0010ffff", "\u00e9\u2113\U0001f600"}) {
    EXPECT_TRUE(name_valid(good)) << good;
    EXPECT_EQ(open(raw(fields(0, 1, {std::string(good)}))), Status::kOk) << good;
  }
  for (const std::string& bad : std::vector<std::string>{std::string(1, '\0'),
                                                         "a\nb",
                                                         "\x1f",
                                                         "\x7f",
                                                         "\xc2\x80",
                                                         "\xc2\x9f",  // control
                                                         "\x80",
                                                         "\xbf",
                                                         "\xc0\x80",
                                                         "\xc1\xbf",
                                                         "\xe0\x80\x80",
                                                         "\xe0\x9f\xbf",
                                                         "\xf0\x80\x80\x80",
                                                         "\xf0\x8f\xbf\xbf",  // overlong
                                                         "\xed\xa0\x80",
                                                         "\xed\xbf\xbf",  // surrogates
                                                         "\xf4\x90\x80\x80",
                                                         "\xf5\x80\x80\x80",
                                                         "\xff",  // beyond U+10FFFF
                                                         "\xc3",
                                                         "\xe2\x84",
                                                         "\xf0\x9f\x98",
                                                         "a\xc3",
                                                         "\xc3z",
                                                         "\xe2\x84z",
                                                         "\xe2z\x84",
                                                         "\xf0\x9f\x98z",
                                                         "\xf0\x9fz\x98"}) {  // cut
    EXPECT_FALSE(name_valid(bad)) << bad;
    EXPECT_EQ(open(raw(fields(0, 1, {bad}))), Status::kBadName) << bad;
    uint64_t size = 0;
    EXPECT_EQ(content_of(1, {bad}).size(size), Status::kBadName);
  }
  EXPECT_EQ(open(raw(fields(0, 2, {"a", "a"}))), Status::kBadName);
  EXPECT_EQ(open(raw(fields(0, 3, {"", "b", ""}))), Status::kBadName);
}

TEST(Bundle, WhatCannotBeWritten) {
  uint64_t size = 0;
  size_t used = 0;
  Bytes out(1000);
  const auto refused = [&](const Content& content, Status status) {
    EXPECT_EQ(content.size(size), status);
    EXPECT_EQ(content.write(out, used), status);
  };
  refused({{}, {}}, Status::kBadArgument);
  refused({{"a", "b"}, {{1}, {2}, {3}}}, Status::kBadArgument);
  refused(content_of(1, {"a", "a"}), Status::kBadName);
  refused(content_of(1, {std::string(256, 'n')}), Status::kBadName);
  std::vector<std::string> names;
  for (int t = 0; t < 1025; ++t) names.push_back(std::to_string(t));
  refused(content_of(0, names), Status::kTooLarge);
}

TEST(Bundle, StreamsBeyondTheLimits) {
  const std::string_view name = "x";
  const uint8_t byte = 0;
  uint64_t size = 0;
  const std::span<const uint8_t> large(&byte, (size_t{1} << 32) - 1),
      larger(&byte, size_t{1} << 32);
  EXPECT_EQ(bundle_size(std::span(&name, 1), std::span(&large, 1), size), Status::kOk);
  EXPECT_EQ(size, 3u + 2 + 2 + 8 + 4 + large.size());
  EXPECT_EQ(bundle_size(std::span(&name, 1), std::span(&larger, 1), size), Status::kTooLarge);
  const std::vector<std::span<const uint8_t>> many((size_t{1} << 24) + 1);
  EXPECT_EQ(bundle_size(std::span(&name, 1), many, size), Status::kTooLarge);
}

TEST(Bundle, EachStatusHasASentenceOfItsOwn) {
  for (const Status status : {Status::kTruncated, Status::kBadMagic, Status::kBadVersion,
                              Status::kBadNumber, Status::kBadHeader, Status::kBadChecksum,
                              Status::kTrailingBytes, Status::kBadArgument, Status::kTooLarge}) {
    EXPECT_STRNE(bundle_message(status), message(status));
    EXPECT_NE(std::string_view(bundle_message(status)).find("bundle"), std::string_view::npos);
  }
  EXPECT_STREQ(bundle_message(Status::kBadName), message(Status::kBadName));
  EXPECT_STREQ(bundle_message(Status::kWrongStream), message(Status::kWrongStream));
}

// Any bytes whatever, and any change of a bundle with its checksums made right again.
TEST(Bundle, AnyBytesAreReadWithinTheirBounds) {
  std::mt19937 random(1);
  const Bytes good = content_of(3, {"ab", "c"}).bundle();
  size_t accepted = 0;
  for (int i = 0; i < 20000; ++i) {
    Bytes bytes(good.begin(), good.begin() + static_cast<ptrdiff_t>(random() % (good.size() + 1)));
    if (i % 2 == 0) bytes = good;
    for (unsigned changes = random() % 4; changes > 0 && !bytes.empty(); --changes) {
      bytes[random() % std::min<size_t>(bytes.size(), 80)] = static_cast<uint8_t>(random());
    }
    if (i % 4 == 0) repair_bundle(bytes);
    accepted += open_all(bytes) == Status::kOk;
  }
  EXPECT_GT(accepted, 1000u);
}

}  // namespace
}  // namespace fmtc
