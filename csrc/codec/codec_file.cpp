#include "codec/codec_file.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "codec/codec_tables.h"
#include "codec/json.h"
#include "codec/layer.h"
#include "codec/safetensors.h"
#include "core/positions.h"

namespace fmtc::codec {
namespace {

using nlohmann::json;

constexpr int kMaxShift = 15;
constexpr int64_t kMaxBlockSide = 255;
constexpr std::string_view kSchema = "fmtc.codec/6";
constexpr std::string_view kSchemaBefore = "fmtc.codec/5";

// -------------------------------------------------------------------------------------------------
// Parts of a codec

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
  check(array.dtype == "F32", "a matrix is not of float32");
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
  check(transform.matrix.allFinite() && transform.inverse.allFinite() &&
            std::ranges::all_of(mean, [](double value) { return std::isfinite(value); }),
        "NaN in a transform");
  const Eigen::Map<const Eigen::VectorXd> exact(mean.data(), size);
  transform.mean = exact.cast<float>();
  transform.offset = (-(transform.matrix.cast<double>() * exact)).cast<float>();
  return transform;
}

// Sets the transforms; returns the number of components.
int64_t load_transforms(const Layer& layer, TensorCodec& codec) {
  const int64_t channels = codec.channels;
  const int64_t depth = codec.block.c == 0 ? channels : std::min(codec.block.c, channels);
  const auto groups = static_cast<size_t>(layer.integer_setting("groups"));
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

Quantizer make_quantizer(const json& step_of, const json& lo_of, const json& hi_of) {
  using Level = std::numeric_limits<int16_t>;
  const double step = number(step_of, "a step");
  const int64_t lo = integer(lo_of, "lo"), hi = integer(hi_of, "hi");
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
    check(one.is_array() && one.size() == 3, "a step of a component is none");
    codec.quantizers.push_back(make_quantizer(one.at(0), one.at(1), one.at(2)));
  }
  check(static_cast<int64_t>(codec.quantizers.size()) == components,
        "it has not a step for each component");
}

ScaledFormat format_of(const std::string& name) {
  if (name == "integers") return ScaledFormat::kIntegers;
  if (name == "mxfp4") return ScaledFormat::kMxfp4;
  check(name == "nvfp4", "its format is none");
  return ScaledFormat::kNvfp4;
}

Scaled load_scaled(const Layer& layer) {
  const int64_t block = layer.integer_setting("scale_block");
  check(0 <= block && block <= std::numeric_limits<int32_t>::max(), "its scales are none");
  const double step = number(layer.setting("step"), "a step");
  const int64_t lo = layer.integer_setting("lo"), hi = layer.integer_setting("hi");
  check(-kMostScaledLevel <= lo && lo <= hi && hi <= kMostScaledLevel, "its quantiser is none");
  const Scaled scaled = {format_of(layer.setting("format")), static_cast<uint64_t>(block),
                         static_cast<float>(step), static_cast<int32_t>(lo),
                         static_cast<int32_t>(hi)};
  check(scaled_valid(scaled), "its quantiser is none");
  return scaled;
}

// The frequencies of so many components: which of them each plane of levels is, and their steps.
BlockFrequencies load_frequencies(const Layer& layer, const TensorCodec& codec,
                                  int64_t components) {
  const std::vector<int32_t> coded = layer.vector<int32_t>("frequencies");
  std::vector<float> steps = layer.vector<float>("frequency_scales");
  const auto count = static_cast<int64_t>(steps.size());
  const int64_t size = count == 4 ? 2 : 4;
  check(count == size * size, "its frequencies are none");
  check(codec.block.h == 1 && codec.block.w == 1 && codec.transforms.size() <= 1,
        "frequencies of blocks");
  for (float& step : steps) {
    step *= codec.quantizers.front().step;
    check(std::isfinite(step) && step > 0, "its quantiser is none");
  }
  // Each component has one, so that little is made of few bytes.
  const auto planes = static_cast<int64_t>(coded.size());
  check(components <= planes, "a component without frequencies");
  std::vector<int32_t> places(static_cast<size_t>(components * count), -1);
  std::vector<bool> there(static_cast<size_t>(components));
  for (int64_t plane = 0; plane < planes; ++plane) {
    const int32_t frequency = coded[static_cast<size_t>(plane)];
    check(0 <= frequency && frequency < components * count, "its frequencies are none");
    int32_t& place = places[static_cast<size_t>(frequency)];
    check(place < 0, "a frequency is there twice");
    place = static_cast<int32_t>(plane);
    there[static_cast<size_t>(frequency / count)] = true;
  }
  check(std::ranges::find(there, false) == there.end(), "a component without frequencies");
  return {size, planes, std::move(places), std::move(steps)};
}

// Sets the quantiser of so many components; returns the number of planes of levels.
int64_t load_quantizer(const Layer& layer, TensorCodec& codec, int64_t components) {
  if (!layer.has_setting("format")) {
    load_quantizers(layer, codec, components);
    if (!layer.has("frequencies")) return components;
    check(codec.quantizers.size() == 1 && !layer.has_setting("each"), "steps of components");
    codec.frequencies = load_frequencies(layer, codec, components);
    return codec.frequencies->planes;
  }
  check(!layer.has("frequencies"), "frequencies with scales");
  codec.scaled = load_scaled(layer);
  const auto channels = static_cast<uint64_t>(components);
  return static_cast<int64_t>(channels + scales_of(channels, codec.scaled->block));
}

void load_symbols(const Layer& layer, TensorCodec& codec, int64_t components) {
  const std::vector<int64_t> shifts = layer.vector<int64_t>("shifts");
  const Array matrix = layer.tensor("coefficients");
  const std::vector<int16_t> coefficients = matrix.values<int16_t>("coefficients");
  constexpr size_t kOwn = 3;
  const size_t each = shifts.empty() ? kOwn : coefficients.size() / shifts.size();
  codec.sources = each < kOwn ? 0 : static_cast<uint32_t>((each - kOwn) / kWindow);
  // Without a transform there are as many components as the file says channels: whatever is made
  // for each of them is made after this.
  check(static_cast<int64_t>(shifts.size()) == components && matrix.shape.size() == 2 &&
            matrix.shape[0] == components && coefficients.size() == each * shifts.size() &&
            each == kOwn + codec.sources * kWindow && codec.sources <= kMostSources &&
            (codec.sources == 0 || codec.sources < shifts.size()),
        "it has not a prediction for each component");
  codec.prediction.resize(shifts.size());
  codec.shifts.resize(shifts.size());
  for (size_t k = 0; k < shifts.size(); ++k) {
    const auto c = std::span(coefficients).subspan(each * k, each);
    codec.prediction[k] = {c[0], c[1], c[2]};
    codec.cross.insert(codec.cross.end(), c.begin() + kOwn, c.end());
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
            std::ranges::is_sorted(codec.thresholds) &&
            std::ranges::all_of(codec.weights, [](int32_t w) { return 0 <= w && w <= kMaxWeight; }),
        "its classes of positions do not fit");
}

Dimensions load_dimensions(const Layer& layer) {
  const Dimensions dimensions = {layer.integer_setting("rank"),
                                 layer.integer_setting("channel_dim")};
  check(0 < dimensions.channels && dimensions.channels < dimensions.rank &&
            dimensions.rank <= Dimensions::kMost,
        "its dimension of channels is none");
  return dimensions;
}

TensorCodec load_layer(const Layer& layer) {
  TensorCodec codec;
  codec.dimensions = load_dimensions(layer);
  codec.channels = layer.integer_setting("channels");
  check(codec.channels > 0 && codec.channels <= std::numeric_limits<int32_t>::max(),
        "its number of channels is none");
  codec.block = parse_block(layer.setting("block"));
  const int64_t components = load_transforms(layer, codec);
  check(components > 0, "it has no components");
  load_symbols(layer, codec, load_quantizer(layer, codec, components));
  load_classes(layer, codec);
  codec.tables = load_tables(layer, codec);
  return codec;
}

// -------------------------------------------------------------------------------------------------
// The file

[[noreturn]] void fail_of_schema(const std::string& schema) {
  const std::string what =
      "it has schema '" + schema + "', this program reads '" + std::string(kSchema) + "': ";
  if (schema == kSchemaBefore) {
    throw Error(what +
                "load it in Python and save it again, with fmtc.load(path, model).save(path) " +
                "or, for a bare tensor, fmtc.TensorCodec.load(path).save(path)");
  }
  throw Error(what + "make the codec anew, with fmtc.compress or fmtc.calibrate_tensor");
}

// The description in the file's metadata, whose checksum is compared before its meaning is read.
json read_description(const Safetensors& file) {
  const std::string text = file.metadata("fmtc");
  if (text.empty()) throw Error("it is a safetensors file, but not one that fmtc saved");
  const json parts = parse_json(text, "it is damaged");
  const std::string schema = parts.value("schema", "");
  if (schema != kSchema) fail_of_schema(schema);
  const std::string description = parts.at("description");
  if (parts.at("checksum") != codec_checksum(file, description))
    fail_damaged("its checksum is wrong");
  return parse_json(description, "it is damaged");
}

size_t find_layer(const json& description, const std::string& name) {
  const json& layers = description.at("layers");
  if (description.at("kind") == "tensor") {
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

uint32_t codec_checksum(const Safetensors& file, const std::string& description) {
  uint32_t crc = crc32_of(description, 0);
  for (const auto& [name, entry] : file.entries()) {
    std::string text = name + "\n" + entry.dtype + "\n";
    for (size_t i = 0; i < entry.shape.size(); ++i) {
      text += (i == 0 ? "" : ",") + std::to_string(entry.shape[i]);
    }
    crc = crc32_of(file.bytes(name), crc32_of(text + "\n", crc));
  }
  return crc;
}

TensorCodec parse_codec(std::span<const uint8_t> bytes, const std::string& layer) {
  try {
    const Safetensors file(bytes);
    const json description = read_description(file);
    const size_t index = find_layer(description, layer);
    const json& settings = description.at("layers").at(index);
    if (settings.at("plain").get<bool>()) {
      throw Error("layer '" + layer + "' was left out: its tensors are quantised, not coded");
    }
    return load_layer(Layer(file, settings, index));
  } catch (const json::exception& error) {
    throw Error(std::string("it is damaged: ") + error.what());
  }
}

TensorCodec load_codec(const std::filesystem::path& path, const std::string& layer,
                       uint64_t max_bytes) {
  const std::vector<uint8_t> bytes = read_file(path, max_bytes);
  try {
    return parse_codec(bytes, layer);
  } catch (const Error& error) {
    throw Error(path.string() + ": " + error.what());
  }
}

}  // namespace fmtc::codec
