// Levels to a stream and back: coder and codec (input.h), shape, chunks, lanes, classes, then the
// bytes that levels and classes are made of.

#include "core/positions.h"
#include "input.h"

namespace fmtc {
namespace {

StreamHeader take_header(Coder coder, Input& input) {
  const auto components = static_cast<uint32_t>(input.up_to(5));
  const auto height = static_cast<uint32_t>(input.up_to(16));
  const auto width = static_cast<uint32_t>(input.up_to(31));
  const uint16_t id = input.u16();
  StreamHeader header =
      make_header(coder, components, height, width, id, input.byte(), input.byte());
  header.log2_chunk = static_cast<uint8_t>(8 + input.up_to(3));
  const int lanes = input.up_to(6);
  const int classes = 1 + input.up_to(7);
  if (coder != Coder::kHuffman && coder != Coder::kRans) return header;
  header.log2_lanes = static_cast<uint8_t>(coder == Coder::kRans ? lanes : std::min(lanes, 4));
  if (header.values() > 0) header.classes = static_cast<uint8_t>(classes);
  return header;
}

// Bytes of the input, over and over.
class Cycle {
 public:
  explicit Cycle(std::span<const uint8_t> bytes) : bytes_(bytes) {}
  uint8_t next() { return bytes_.empty() ? uint8_t{0} : bytes_[position_++ % bytes_.size()]; }

 private:
  std::span<const uint8_t> bytes_;
  size_t position_ = 0;
};

// An arrangement, where the map can be coded: with rANS any can, with Huffman the table may lack
// a level.
std::vector<int16_t> arranged(StreamHeader& header, const std::vector<int16_t>& levels,
                              Cycle& bytes) {
  Layout layout = header.layout();
  std::vector<uint8_t> map(layout.map_size());
  for (uint8_t& c : map) c = bytes.next() % header.classes;
  FMTC_REQUIRE(count_positions(map, layout) == Status::kOk);
  header.positions = layout.positions;
  std::vector<int16_t> values(layout.values()), back(levels.size());
  FMTC_REQUIRE(arrange(levels, map, layout, values) == Status::kOk);
  FMTC_REQUIRE(restore(values, layout, back) == Status::kOk && back == levels);
  return values;
}

void round_trip(Coder coder, Input& input) {
  FuzzCodec codec(coder, input);
  StreamHeader header = take_header(coder, input);
  codec.set_segments(header.layout().segments());
  Cycle bytes(input.rest());
  std::vector<int16_t> values(header.layout().levels());
  for (size_t i = 0; i < values.size(); ++i) {
    const size_t component = i / header.plane();
    values[i] = codec.level(codec.has_tables() ? component % codec.tables : 0, bytes.next());
  }
  if (header.classes > 1) values = arranged(header, values, bytes);
  std::vector<uint8_t> stream(stream_bound(header));
  size_t used = 0;
  const Status status =
      stream_encode(header, values, codec.encode_tables(header.plane()), stream, used);
  if (status == Status::kNoCode) {
    FMTC_REQUIRE(coder == Coder::kHuffman && header.classes > 1);
    return;
  }
  FMTC_REQUIRE(status == Status::kOk && used <= stream.size());
  stream.resize(used);
  stream.shrink_to_fit();
  std::vector<int16_t> decoded(values.size(), -1);
  FMTC_REQUIRE(stream_decode(stream, header, codec.decode_tables(header.plane()), decoded) ==
               Status::kOk);
  FMTC_REQUIRE(decoded == values);
}

}  // namespace
}  // namespace fmtc

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fmtc::Input input(data, size);
  const fmtc::Coder coder = fmtc::take_coder(input);
  fmtc::round_trip(coder, input);
  return 0;
}
