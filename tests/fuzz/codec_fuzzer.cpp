// Saved codecs, and what is accepted put to use. The mutator changes the description, its values
// one by one, or a tensor, and makes the checksum right.

#include <array>

#include "files.h"

namespace fmtc {
namespace {

constexpr int64_t kMostValues = 4096;  // of a tensor to code; beyond it is only slower

// The layer that is read: that of a bare tensor, or the first one of a network.
std::string layer_of(std::span<const uint8_t> bytes) {
  try {
    const auto description = nlohmann::json::parse(SavedCodec(bytes).description);
    if (description.at("kind") == "tensor") return "";
    return description.at("layers").at(0).at("name").get<std::string>();
  } catch (const std::exception&) {
    return "";
  }
}

// Levels that it makes must come back from its streams.
void use(const codec::TensorCodec& codec) {
  const std::vector<int64_t> shape = {1, codec.channels, codec.block.h + 1, codec.block.w + 2};
  if (codec.channels * shape[2] * shape[3] > kMostValues) return;
  if (codec.components() * shape[2] * shape[3] > kMostValues) return;
  codec::Array x = {"F32", shape, {}};
  x.bytes.resize(codec::value_count(shape) * sizeof(float));
  for (size_t i = 0; i < x.bytes.size() / sizeof(float); ++i) {
    store_le(x.bytes.data() + sizeof(float) * i, static_cast<float>(i % 7) - 2.5F);
  }
  const codec::Levels levels = codec.quantize(x);
  const std::vector<uint8_t> streams = codec.encode(levels);
  const codec::Levels decoded = codec.decode(streams, uint64_t{1} << 20);
  FMTC_REQUIRE(decoded.shape == levels.shape && decoded.values == levels.values);
  FMTC_REQUIRE(codec.dequantize(decoded).shape == shape);
}

void read(std::span<const uint8_t> bytes) {
  try {
    use(codec::parse_codec(bytes, layer_of(bytes)));
  } catch (const codec::Error&) {
    return;
  }
}

// -------------------------------------------------------------------------------------------------
// Mutations

using Random = std::minstd_rand;

size_t below(Random& random, size_t count) { return random() % std::max<size_t>(count, 1); }

const nlohmann::json& some_value(Random& random) {
  static const std::vector<nlohmann::json> kValues = {0,
                                                      1,
                                                      -1,
                                                      2,
                                                      3,
                                                      7,
                                                      15,
                                                      16,
                                                      255,
                                                      256,
                                                      4095,
                                                      4096,
                                                      65536,
                                                      1 << 30,
                                                      -128,
                                                      32767,
                                                      1LL << 31,
                                                      1LL << 53,
                                                      1LL << 62,
                                                      0.5,
                                                      1e300,
                                                      1e-300,
                                                      "",
                                                      "C",
                                                      true,
                                                      false,
                                                      nullptr,
                                                      "1,1,C",
                                                      "2,2,3",
                                                      "rans",
                                                      "huffman",
                                                      "ebpc",
                                                      "dct-cm",
                                                      "fixed",
                                                      "apack",
                                                      nlohmann::json::array(),
                                                      nlohmann::json::object()};
  return kValues[below(random, kValues.size())];
}

// Another value, one more or none in the place of one somewhere in the description.
void change(nlohmann::json& value, Random& random, int depth = 0) {
  if (value.is_structured() && !value.empty() && depth < 8 && below(random, 8) != 0) {
    auto at = value.begin();
    std::advance(at, below(random, value.size()));
    if (below(random, 16) == 0) {
      value.erase(at);
    } else {
      change(*at, random, depth + 1);
    }
  } else if (value.is_array() && below(random, 2) == 0) {
    value.push_back(value.empty() ? some_value(random) : value[0]);
  } else if (value.is_number_integer() && below(random, 2) == 0) {
    value = value.get<int64_t>() / 2 + static_cast<int64_t>(below(random, 5)) - 2;
  } else {
    value = some_value(random);
  }
}

void change_tensor(SavedCodec::Tensor& tensor, Random& random) {
  static const std::array<std::string, 6> kTypes = {"F64", "F32", "I64", "I32", "I16", "U8"};
  switch (below(random, 8)) {
    case 0:
      tensor.dtype = kTypes[below(random, kTypes.size())];
      break;
    case 1:
      if (!tensor.shape.empty()) {
        std::swap(tensor.shape.front(), tensor.shape[below(random, tensor.shape.size())]);
      }
      break;
    case 2:
      tensor.shape.push_back(1);
      break;
    default: {
      const size_t size = tensor.bytes.size();
      tensor.bytes = mutated(tensor.bytes, size);
      tensor.bytes.resize(size);
    }
  }
}

std::string change_file(SavedCodec saved, Random& random, size_t most) {
  switch (below(random, 4)) {
    case 0:
      saved.description = mutated(saved.description, most);
      break;
    case 1:
      if (!saved.tensors.empty()) {
        change_tensor(saved.tensors[below(random, saved.tensors.size())], random);
      }
      break;
    default: {
      auto description = nlohmann::json::parse(saved.description);
      change(description, random);
      saved.description = description.dump();
    }
  }
  return saved.file();
}

}  // namespace
}  // namespace fmtc

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fmtc::read({data, size});
  return 0;
}

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t most, unsigned seed) {
  fmtc::Random random(seed);
  if (fmtc::below(random, 8) == 0) return LLVMFuzzerMutate(data, size, most);
  try {
    const fmtc::SavedCodec saved({data, size});
    return fmtc::hand_back(fmtc::change_file(saved, random, most), data, size, most);
  } catch (const std::exception&) {
    return LLVMFuzzerMutate(data, size, most);
  }
}
