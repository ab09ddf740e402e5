// fmtc_codec: tensor files to streams and back, with codecs that fmtc saved.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cinttypes>
#include <cstdio>
#include <cstring>
#include <exception>
#include <string>
#include <vector>

#include "codec/array.h"
#include "codec/codec_file.h"
#include "codec/file.h"
#include "codec/options.h"
#include "codec/stream_file.h"
#include "codec/tensor_codec.h"
#include "core/bytes.h"
#include "core/crc32c.h"

namespace fmtc::codec {
namespace {

struct Options {
  std::string codec, in, out, layer, tensor, name;
  std::vector<int64_t> shape;
  bool levels = false;
  uint64_t max_values = kDefaultMaxValues, max_bytes = kDefaultMaxBytes;
};

Levels read_levels(const Array& array) {
  if (array.shape.size() != 4) {
    throw Error("expected levels [N, K, H, W], but their shape is " + shape_text(array.shape));
  }
  return {array.shape, array.values<int16_t>("the tensor")};
}

// Values that Python warns of, too.
void warn_of_clamped(const TensorCodec& codec, const Levels& levels) {
  if (!codec.any_level() || levels.clamped == 0) return;
  std::fprintf(stderr,
               "fmtc_codec: warning: %" PRId64
               " of %zu values lie beyond the 16-bit levels of this codec's step and are clamped, "
               "so that they are off by more than half a step; take a coarser step, or samples for "
               "calibration that are as large\n",
               levels.clamped, levels.values.size());
}

Levels quantized(const TensorCodec& codec, const Array& x) {
  const Levels levels = codec.quantize(codec.dimensions.planes(x, codec.channels));
  warn_of_clamped(codec, levels);
  return levels;
}

void encode(const Options& options) {
  const TensorCodec codec = load_codec(options.codec, options.layer, options.max_bytes);
  const Array array = read_array(options.in, options.tensor, options.max_bytes);
  const Levels levels = array.dtype == "I16" ? read_levels(array) : quantized(codec, array);
  const std::vector<uint8_t> bundle = make_bundle(codec.encode(levels), options.name);
  write_file(options.out, bundle);
  const size_t values = value_count(array.shape);
  std::printf("%s -> %zu bytes", shape_text(array.shape).c_str(), bundle.size());
  if (values > 0 && array.dtype != "I16") {
    std::printf(", %.4f bits/value",
                8.0 * static_cast<double>(bundle.size()) / static_cast<double>(values));
  }
  std::printf("\n");
}

Array level_array(const Levels& levels) {
  Array array = {"I16", levels.shape, std::vector<uint8_t>(levels.values.size() * sizeof(int16_t))};
  for (size_t i = 0; i < levels.values.size(); ++i) {
    store_le(array.bytes.data() + i * sizeof(int16_t), levels.values[i]);
  }
  return array;
}

void decode(const Options& options) {
  const TensorCodec codec = load_codec(options.codec, options.layer, options.max_bytes);
  if (!options.levels) codec.dimensions.require_shape(options.shape);
  StreamFile file(options.in, options.max_bytes);
  const size_t tensor = file.tensor(options.name, options.layer);
  const Levels levels = codec.decode(file.streams(tensor), options.max_values);
  const Array array = options.levels
                          ? level_array(levels)
                          : codec.dimensions.restored(codec.dequantize(levels), options.shape);
  const std::string name = options.tensor.empty() ? "x" : options.tensor;
  write_array(options.out, name, array);
  std::printf("%s %s\n", shape_text(array.shape).c_str(), array.dtype.c_str());
}

// Prints a stream; returns false where a chunk is damaged.
bool print_stream(const std::string& title, const StreamHeader& header,
                  std::span<const uint8_t> stream) {
  const size_t before = stream.size() - header.payload;
  std::printf("%s: %s, [%" PRIu32 ", %" PRIu32 ", %" PRIu32 "], table set %" PRIu16 ", %zu bytes\n",
              title.c_str(), coder_name(header.coder), header.components, header.height,
              header.width, header.table_id, stream.size());
  std::printf("  header %zu bytes, checksum %08" PRIx32 ", version %d, %" PRIu64
              " chunks, %d lanes",
              before, load_le<uint32_t>(stream.data() + before - kChecksumBytes), kStreamVersion,
              header.chunks(), header.lanes());
  if (header.classes > 1) std::printf(", %d classes of positions", header.classes);
  if (header.crop_h > 0 || header.crop_w > 0) {
    std::printf(", crop %d rows, %d columns", header.crop_h, header.crop_w);
  }
  std::printf("\n");
  bool good = true;
  for (uint64_t chunk = 0; chunk < header.chunks(); ++chunk) {
    const ChunkPayload payload = find_chunk(header, stream, chunk);
    // The only chunk of a stream is covered by the checksum above.
    const bool intact = header.chunks() == 1 || crc32c(payload.bytes) == payload.checksum;
    std::printf("  chunk %" PRIu64 ": %zu values, %zu bytes, checksum %08" PRIx32 "%s\n", chunk,
                header.chunk_values(chunk), payload.bytes.size(), crc32c(payload.bytes),
                intact ? "" : " DAMAGED");
    good &= intact;
  }
  return good;
}

std::string title_of(const StreamFile& file, size_t image, size_t tensor) {
  const std::string number = std::to_string(image);
  return file.is_bundle() ? "image " + number + ", '" + file.names()[tensor] + "'"
                          : "stream " + number;
}

void info(const Options& options) {
  StreamFile file(options.in, options.max_bytes);
  if (file.is_bundle()) {
    std::printf("bundle: version %d, %zu images, %zu tensors, head %" PRIu64 " bytes\n",
                kBundleVersion, file.images(), file.names().size(), file.head_bytes());
    for (const std::string& name : file.names()) std::printf("  '%s'\n", name.c_str());
  }
  bool good = true;
  for (size_t image = 0; image < file.images(); ++image) {
    for (size_t tensor = 0; tensor < file.names().size(); ++tensor) {
      StreamHeader header;
      const std::vector<uint8_t> stream = file.stream(image, tensor, header);
      good &= print_stream(title_of(file, image, tensor), header, stream);
    }
  }
  std::printf("%zu streams, %" PRIu64 " bytes\n", file.images() * file.names().size(),
              file.bytes());
  if (!good) throw Error(options.in + ": " + message(Status::kBadChunkChecksum));
}

void add_max_bytes(CLI::App* command, Options& options) {
  command->add_option("--max-bytes", options.max_bytes, "Of a file that is read, at most (2^32)")
      ->check(whole_number(1, kMostSize));
}

void add_codec(CLI::App* command, Options& options) {
  command->add_option("CODEC", options.codec, "Codec that fmtc saved (.safetensors)")->required();
  command->add_option("--layer", options.layer, "Which layer of a network's codecs");
  add_max_bytes(command, options);
}

int run(int argc, char** argv) {
  CLI::App app("Tensor files to fmtc streams and back.");
  app.require_subcommand(1);
  Options options;
  CLI::App* command =
      app.add_subcommand("encode", "Make a bundle of a tensor: a stream of each image");
  add_codec(command, options);
  command
      ->add_option("IN", options.in,
                   "Tensor [N, C, H, W] or of the codec's dimensions, or int16 levels "
                   "[N, K, H, W]: .npy, .safetensors")
      ->required();
  command->add_option("OUT", options.out, "Bundle")->required();
  command->add_option("--tensor", options.tensor, "Which tensor of a .safetensors file");
  command->add_option("--name", options.name, "The tensor's name in the bundle");
  command->callback([&] { encode(options); });

  command = app.add_subcommand("decode", "Make a tensor of a bundle");
  add_codec(command, options);
  command->add_option("IN", options.in, "Bundle, or streams back to back")->required();
  command
      ->add_option("OUT", options.out,
                   "float32 [N, C, H, W] or of the codec's dimensions: .npy, .safetensors")
      ->required();
  command->add_option("--name", options.name,
                      "Which tensor of a bundle of several (that of --layer's name)");
  command->add_option("--tensor", options.tensor, "Its name in a .safetensors file (x)");
  command
      ->add_option("--shape", options.shape,
                   "The tensor's, like 4,6,3,8,9, where the codec's has more than 4 dimensions")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->check(whole_number(0, kMostSize));
  command->add_flag("--levels", options.levels, "Write int16 levels [N, K, H, W] instead");
  command
      ->add_option("--max-values", options.max_values,
                   "Of the tensor, and of its levels, at most (2^28)")
      ->check(whole_number(1, kMostSize));
  command->callback([&] { decode(options); });

  command = app.add_subcommand("info", "Show what a bundle consists of, and check it");
  command->add_option("IN", options.in, "Bundle, or streams back to back")->required();
  add_max_bytes(command, options);
  command->callback([&] { info(options); });

  if (const auto status = parsed(app, argc, argv)) return *status;
  return 0;
}

}  // namespace
}  // namespace fmtc::codec

int main(int argc, char** argv) {
  try {
    const int result = fmtc::codec::run(argc, argv);
    fmtc::codec::check_printed();
    return result;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "fmtc_codec: %s\n", fmtc::codec::printable(error.what()).c_str());
    return fmtc::codec::kFailed;
  }
}
