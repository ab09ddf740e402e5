#include "codec/codec_file.h"

#include <zlib.h>

#include <algorithm>
#include <array>
#include <bit>
#include <charconv>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "codec/safetensors.h"
#include "core/bytes.h"
#include "core/huffman.h"
#include "core/positions.h"
#include "core/rans.h"
#include "core/words.h"

namespace fmtc::codec {
namespace {

using nlohmann::json;

// What Python derives tables with (fmtc/codec/coders.py), the same here or streams would differ.
constexpr int64_t kSmoothing = 64;
constexpr int kHeadroom = 6;
constexpr int kRansLog2Total = 12;
constexpr int64_t kMostCount = int64_t{1} << 50;  // what smoothing multiplies must not overflow
constexpr int kMaxShift = 15;
constexpr int64_t kMaxBlockSide = 255;
constexpr std::array kSchemas = {"fmtc.codec/1", "fmtc.codec/2", "fmtc.codec/3"};

[[noreturn]] void fail_damaged(const std::string& why) { throw Error("it is damaged: " + why); }

void check(bool good, const char* why) {
  if (!good) fail_damaged(why);
}

void check(Status status) {
  if (status != Status::kOk) fail_damaged(message(status));
}

uint32_t crc32_of(std::span<const uint8_t> bytes, uint32_t seed) {
  return static_cast<uint32_t>(crc32_z(seed, bytes.data(), bytes.size()));
}

uint32_t crc32_of(const std::string& text, uint32_t seed) {
  return crc32_of({reinterpret_cast<const uint8_t*>(text.data()), text.size()}, seed);
}

// -------------------------------------------------------------------------------------------------
// The file's checksum is one over text as Python's json.dumps(layers, sort_keys=True) writes it.

// repr(value): the shortest digits that give the number back, with an exponent where it is below
// -4 or above 15.
std::string python_text(double value) {
  char buffer[32];
  const auto [end, error] =
      std::to_chars(buffer, buffer + sizeof(buffer), value, std::chars_format::scientific);
  const std::string text(buffer, end);
  const size_t e = text.find('e');
  if (e == std::string::npos) fail_damaged("a number is not finite");
  const int exponent = std::stoi(text.substr(e + 1));
  if (exponent < -4 || exponent > 15) return text;  // has two digits of exponent at least, too
  const std::string sign = text[0] == '-' ? "-" : "";
  std::string digits = text.substr(sign.size(), e - sign.size());
  std::erase(digits, '.');
  if (exponent < 0)
    return sign + "0." + std::string(static_cast<size_t>(-exponent - 1), '0') + digits;
  const auto whole = static_cast<size_t>(exponent) + 1;
  if (digits.size() <= whole) return sign + digits + std::string(whole - digits.size(), '0') + ".0";
  return sign + digits.substr(0, whole) + "." + digits.substr(whole);
}

std::string python_text(const json& value) {
  std::string text;
  if (value.is_object()) {
    for (const auto& [key, member] : value.items()) {  // sorted, as nlohmann::json keeps them
      text +=
          (text.empty() ? "" : ", ") + json(key).dump(-1, ' ', true) + ": " + python_text(member);
    }
    return "{" + text + "}";
  }
  if (value.is_array()) {
    for (const json& element : value) text += (text.empty() ? "" : ", ") + python_text(element);
    return "[" + text + "]";
  }
  return value.is_number_float() ? python_text(value.get<double>()) : value.dump(-1, ' ', true);
}

uint32_t checksum(const Safetensors& file, const json& layers) {
  uint32_t crc = crc32_of(python_text(layers), 0);
  for (const std::string& name : file.names()) {
    crc = crc32_of(file.bytes(name), crc32_of(name, crc));
  }
  return crc;
}

// -------------------------------------------------------------------------------------------------
// Parts of a codec

// The tensors and settings of one layer.
class Layer {
 public:
  Layer(const Safetensors& file, const json& settings, size_t index)
      : file_(file), settings_(settings), prefix_(std::to_string(index) + ".") {}

  bool has(const std::string& name) const { return file_.has(prefix_ + name); }
  bool has_setting(const char* name) const { return settings_.contains(name); }
  const json& setting(const char* name) const { return settings_.at(name); }
  template <typename T>
  T setting(const char* name, const T& otherwise) const {
    return settings_.value(name, otherwise);
  }
  Array tensor(const std::string& name) const { return file_.tensor(prefix_ + name); }
  // The values of a tensor that must have one dimension.
  template <typename T>
  std::vector<T> vector(const std::string& name) const {
    const Array array = tensor(name);
    check(array.shape.size() == 1, "a tensor has the wrong shape");
    return array.values<T>(name);
  }

 private:
  const Safetensors& file_;
  const json& settings_;
  std::string prefix_;
};

Block parse_block(const std::string& text) {
  const size_t first = text.find(','), second = text.find(',', first + 1);
  check(second != std::string::npos, "its block shape is none");
  const auto number = [](const std::string& part) {
    int64_t value = 0;
    const auto [end, error] = std::from_chars(part.data(), part.data() + part.size(), value);
    check(error == std::errc() && end == part.data() + part.size() && value > 0,
          "its block shape is none");
    return value;
  };
  const std::string depth = text.substr(second + 1);
  const Block block = {number(text.substr(0, first)),
                       number(text.substr(first + 1, second - first - 1)),
                       depth == "C" ? 0 : number(depth)};
  check(block.h <= kMaxBlockSide && block.w <= kMaxBlockSide, "its blocks are too large");
  return block;
}

Plane matrix_of(const Layer& layer, const std::string& name) {
  const Array array = layer.tensor(name);
  check(array.shape.size() == 2, "a matrix has the wrong shape");
  const std::vector<float> values = array.floats(name);
  return Eigen::Map<const Plane>(values.data(), array.shape[0], array.shape[1]);
}

Transform load_transform(const Layer& layer, size_t group, int64_t size) {
  const std::string suffix = "." + std::to_string(group);
  const std::vector<double> mean = layer.vector<double>("mean" + suffix);
  Transform transform;
  transform.matrix = matrix_of(layer, "matrix" + suffix);
  transform.inverse = matrix_of(layer, "inverse" + suffix);
  check(transform.matrix.cols() == size && transform.inverse.rows() == size &&
            transform.inverse.cols() == transform.matrix.rows() &&
            static_cast<int64_t>(mean.size()) == size,
        "a transform does not fit the blocks");
  const Eigen::Map<const Eigen::VectorXd> exact(mean.data(), size);
  transform.mean = exact.cast<float>();
  transform.offset = (-(transform.matrix.cast<double>() * exact)).cast<float>();
  return transform;
}

// Sets the transforms; returns the number of components.
int64_t load_transforms(const Layer& layer, TensorCodec& codec) {
  const int64_t channels = codec.channels;
  const int64_t depth = codec.block.c == 0 ? channels : std::min(codec.block.c, channels);
  const auto groups = layer.setting("groups").get<size_t>();
  if (groups == 0) {
    check(codec.block.h == 1 && codec.block.w == 1 && depth == channels,
          "blocks without a transform");
    return channels;
  }
  check(groups == static_cast<size_t>((channels + depth - 1) / depth),
        "it has not a transform for each group of channels");
  int64_t components = 0;
  for (size_t group = 0; group < groups; ++group) {
    codec.transforms.push_back(load_transform(layer, group, depth * codec.block.h * codec.block.w));
    components += codec.transforms.back().matrix.rows();
  }
  return components;
}

Quantizer make_quantizer(double step, int64_t lo, int64_t hi) {
  using Level = std::numeric_limits<int16_t>;
  const Quantizer quantizer = {static_cast<float>(step), static_cast<int32_t>(lo),
                               static_cast<int32_t>(hi)};
  check(std::isfinite(quantizer.step) && quantizer.step > 0 && Level::min() <= lo && lo <= hi &&
            hi <= Level::max(),
        "its quantiser is none");
  return quantizer;
}

void load_quantizers(const Layer& layer, TensorCodec& codec, int64_t components) {
  if (!layer.has_setting("each")) {
    codec.quantizers = {
        make_quantizer(layer.setting("step"), layer.setting("lo"), layer.setting("hi"))};
    return;
  }
  for (const json& one : layer.setting("each")) {
    codec.quantizers.push_back(make_quantizer(one.at(0), one.at(1), one.at(2)));
  }
  check(static_cast<int64_t>(codec.quantizers.size()) == components,
        "it has not a step for each component");
}

void load_symbols(const Layer& layer, TensorCodec& codec, int64_t components) {
  codec.prediction.resize(static_cast<size_t>(components));
  codec.shifts.resize(static_cast<size_t>(components));
  if (!layer.has("shifts")) return;  // before schema 2: symbols are the levels
  const std::vector<int64_t> shifts = layer.vector<int64_t>("shifts");
  const std::vector<int16_t> coefficients =
      layer.tensor("coefficients").values<int16_t>("coefficients");
  check(shifts.size() == codec.shifts.size() && coefficients.size() == 3 * shifts.size(),
        "it has not a prediction for each component");
  for (size_t k = 0; k < shifts.size(); ++k) {
    codec.prediction[k] = {coefficients[3 * k], coefficients[3 * k + 1], coefficients[3 * k + 2]};
    check(shifts[k] >= 0 && shifts[k] <= kMaxShift && valid(codec.prediction[k]),
          "a prediction is outside its range");
    codec.shifts[k] = static_cast<int>(shifts[k]);
  }
}

void load_classes(const Layer& layer, TensorCodec& codec) {
  if (!layer.has("position_weights")) return;
  codec.weights = layer.vector<int32_t>("position_weights");
  codec.thresholds = layer.vector<int64_t>("position_thresholds");
  check(static_cast<int64_t>(codec.weights.size()) == codec.planes() &&
            codec.classes() >= kMinPositionClasses && codec.classes() <= kMaxPositionClasses &&
            std::ranges::is_sorted(codec.thresholds),
        "its classes of positions do not fit");
}

// -------------------------------------------------------------------------------------------------
// Tables from calibration counts

struct Counts {
  size_t tables = 0;
  size_t levels = 0;
  std::vector<int64_t> smoothed;  // [tables, levels]

  std::span<const int64_t> of(size_t table) const {
    return std::span(smoothed).subspan(table * levels, levels);
  }
};

Counts load_counts(const Layer& layer) {
  const Array array = layer.tensor("counts");
  check(array.shape.size() == 2 && array.shape[0] > 0 && array.shape[1] > 0 &&
            array.shape[1] <= static_cast<int64_t>(kMaxSymbols),
        "its counts make no tables");
  Counts counts = {static_cast<size_t>(array.shape[0]), static_cast<size_t>(array.shape[1]),
                   array.values<int64_t>("counts")};
  for (int64_t& count : counts.smoothed) {
    check(count >= 0 && count <= kMostCount, "a count is outside its range");
    count = count * kSmoothing + 1;
  }
  return counts;
}

int bits_for(size_t values) { return std::bit_width(std::max<size_t>(values, 2) - 1); }

// Code lengths [tables, levels].
std::vector<uint8_t> code_lengths(const Counts& counts) {
  const int most = std::min(kMaxCodeLength, bits_for(counts.levels) + kHeadroom);
  std::vector<uint8_t> lengths(counts.smoothed.size());
  for (size_t t = 0; t < counts.tables; ++t) {
    check(huffman_lengths(counts.of(t), most,
                          std::span(lengths).subspan(t * counts.levels, counts.levels)));
  }
  return lengths;
}

void set_huffman_tables(std::span<const uint8_t> lengths, size_t symbols, Tables& tables) {
  const int longest = *std::ranges::max_element(lengths);
  tables.encode_width = symbols;
  tables.decode_width = size_t{1} << longest;
  const size_t count = lengths.size() / symbols;
  tables.encode_entries.resize(lengths.size());
  tables.decode_entries.resize(count * tables.decode_width);
  for (size_t t = 0; t < count; ++t) {
    const auto of_table = lengths.subspan(t * symbols, symbols);
    check(huffman_encode_table(of_table,
                               std::span(tables.encode_entries).subspan(t * symbols, symbols)));
    check(huffman_decode_table(
        of_table, longest,
        std::span(tables.decode_entries).subspan(t * tables.decode_width, tables.decode_width)));
  }
}

// Returns the frequencies [tables, levels + 1].
std::vector<int32_t> set_rans_tables(const Counts& counts, Tables& tables) {
  const size_t width = counts.levels + 1;
  std::vector<int32_t> frequencies(counts.tables * width);
  tables.encode_width = width;
  tables.decode_width = size_t{1} << kRansLog2Total;
  tables.encode_entries.resize(frequencies.size());
  tables.decode_entries.resize(counts.tables * tables.decode_width);
  tables.base.resize(counts.tables);
  for (size_t t = 0; t < counts.tables; ++t) {
    const auto of_table = std::span(frequencies).subspan(t * width, width);
    check(rans_frequencies(counts.of(t), kRansLog2Total, of_table));
    check(rans_encode_table(of_table, std::span(tables.encode_entries).subspan(t * width, width)));
    check(rans_decode_table(
        of_table,
        std::span(tables.decode_entries).subspan(t * tables.decode_width, tables.decode_width),
        tables.base[t]));
  }
  return frequencies;
}

template <typename T>
uint32_t crc32_of_values(std::span<const T> values, uint32_t seed) {
  std::vector<uint8_t> bytes(values.size_bytes());
  for (size_t i = 0; i < values.size(); ++i) store_le(bytes.data() + i * sizeof(T), values[i]);
  return crc32_of(bytes, seed);
}

// The table-set identifier: from all that decides how a stream is decoded.
template <typename T>
uint16_t identifier(const std::string& coder, const Tables& tables, const std::vector<T>& codes) {
  uint32_t crc = crc32_of(coder, 0);
  crc = crc32_of_values<int32_t>(std::span(&tables.lo, 1), crc);
  crc = crc32_of_values<int64_t>(tables.table_of, crc);
  return static_cast<uint16_t>(crc32_of_values<T>(codes, crc));
}

Tables load_tables(const Layer& layer, const TensorCodec& codec) {
  const Counts counts = load_counts(layer);
  const auto coder = layer.setting<std::string>("coder", "huffman");
  const int64_t lo =
      layer.has_setting("symbols_from") ? layer.setting("symbols_from") : layer.setting("lo");
  check(lo >= std::numeric_limits<int16_t>::min() && lo <= std::numeric_limits<int16_t>::max(),
        "its symbols begin beyond the levels");
  Tables tables;
  tables.lo = static_cast<int32_t>(lo);
  const auto lane_values = layer.setting<int64_t>("lane_values", 0);
  check(lane_values_valid(lane_values), "its lanes cannot have so many values");
  tables.lane_values = static_cast<uint32_t>(lane_values);
  tables.table_of = layer.vector<int64_t>("table_of");
  const int64_t segments =
      codec.classes() > 1 ? 1 + codec.planes() * codec.classes() : codec.planes();
  check(static_cast<int64_t>(tables.table_of.size()) == segments &&
            std::ranges::all_of(tables.table_of,
                                [&](int64_t table) {
                                  return table >= 0 && table < static_cast<int64_t>(counts.tables);
                                }),
        "its tables do not fit the components");
  if (coder == "rans") {
    tables.coder = Coder::kRans;
    tables.id = identifier(coder, tables, set_rans_tables(counts, tables));
    return tables;
  }
  const std::vector<uint8_t> lengths = code_lengths(counts);
  tables.id = identifier(coder, tables, lengths);
  const int word_bits = bits_for(counts.levels);
  if (coder == "huffman") {
    set_huffman_tables(lengths, counts.levels, tables);
  } else if (coder == "fixed") {  // a Huffman code whose lengths are all the same
    const size_t symbols = size_t{1} << word_bits;
    const std::vector<uint8_t> equal(counts.tables * symbols, static_cast<uint8_t>(word_bits));
    set_huffman_tables(equal, symbols, tables);
  } else if (coder == "ebpc" || coder == "dct-cm") {  // which have no tables
    tables.coder = coder == "ebpc" ? Coder::kEbpc : Coder::kDctCm;
    tables.encode_width = tables.decode_width = static_cast<size_t>(word_bits);
    tables.table_of.clear();
  } else {
    throw Error("its coder '" + coder + "' is not known here");
  }
  return tables;
}

TensorCodec load_layer(const Layer& layer) {
  TensorCodec codec;
  codec.channels = layer.setting("channels");
  check(codec.channels > 0 && codec.channels <= std::numeric_limits<int32_t>::max(),
        "its number of channels is none");
  codec.block = parse_block(layer.setting("block"));
  const int64_t components = load_transforms(layer, codec);
  check(components > 0, "it has no components");
  load_quantizers(layer, codec, components);
  load_symbols(layer, codec, components);
  load_classes(layer, codec);
  codec.tables = load_tables(layer, codec);
  return codec;
}

// -------------------------------------------------------------------------------------------------
// The file

json read_header(const Safetensors& file) {
  const std::string text = file.metadata("fmtc");
  if (text.empty()) throw Error("it is a safetensors file, but not one that fmtc saved");
  const json header = json::parse(text);
  const std::string schema = header.value("schema", "");
  if (std::ranges::find(kSchemas, schema) == kSchemas.end()) {
    throw Error("it has the schema '" + schema + "'; this version reads fmtc.codec/1 to 3");
  }
  if (header.at("checksum") != checksum(file, header.at("layers"))) {
    fail_damaged("its checksum is wrong");
  }
  return header;
}

size_t find_layer(const json& header, const std::string& name) {
  const json& layers = header.at("layers");
  if (header.at("kind") == "tensor") {
    if (!name.empty()) throw Error("it holds the codec of a bare tensor, which has no layers");
    return 0;
  }
  std::string known;
  for (size_t i = 0; i < layers.size(); ++i) {
    if (layers[i].at("name") == name) return i;
    known += "\n  " + layers[i].at("name").get<std::string>();
  }
  throw Error((name.empty() ? "it holds the codecs of a network; name one with --layer:"
                            : "it has no layer '" + name + "'; it has:") +
              known);
}

}  // namespace

TensorCodec load_codec(const std::filesystem::path& path, const std::string& layer) {
  const std::vector<uint8_t> bytes = read_file(path);
  try {
    const Safetensors file(bytes);
    const json header = read_header(file);
    const size_t index = find_layer(header, layer);
    const json& settings = header.at("layers").at(index);
    if (settings.at("plain")) {
      throw Error("layer '" + layer + "' was left out: its tensors are quantised, not coded");
    }
    return load_layer(Layer(file, settings, index));
  } catch (const json::exception& error) {
    throw Error(path.string() + ": it is damaged: " + error.what());
  } catch (const Error& error) {
    throw Error(path.string() + ": " + error.what());
  }
}

}  // namespace fmtc::codec
