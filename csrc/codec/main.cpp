// fmtc_codec: tensor files to streams and back, with codecs that fmtc saved.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cinttypes>
#include <cstdio>
#include <cstring>
#include <exception>
#include <string>

#include "codec/array.h"
#include "codec/codec_file.h"
#include "codec/options.h"
#include "codec/tensor_codec.h"
#include "core/bytes.h"
#include "core/crc32c.h"

namespace fmtc::codec {
namespace {

struct Options {
  std::string codec, in, out, layer, tensor;
  bool levels = false;
  uint64_t max_values = kDefaultMaxValues, max_bytes = kDefaultMaxBytes;
};

Levels read_levels(const Array& array) {
  if (array.shape.size() != 4) {
    throw Error("expected levels [N, K, H, W], but their shape is " + shape_text(array.shape));
  }
  return {array.shape, array.values<int16_t>("the tensor")};
}

void encode(const Options& options) {
  const TensorCodec codec = load_codec(options.codec, options.layer, options.max_bytes);
  const Array array = read_array(options.in, options.tensor, options.max_bytes);
  const Levels levels = array.dtype == "I16" ? read_levels(array) : codec.quantize(array);
  const std::vector<uint8_t> streams = codec.encode(levels);
  write_file(options.out, streams);
  const size_t values = value_count(array.shape);
  std::printf("%s -> %zu bytes", shape_text(array.shape).c_str(), streams.size());
  if (values > 0 && array.dtype != "I16") {
    std::printf(", %.4f bits/value",
                8.0 * static_cast<double>(streams.size()) / static_cast<double>(values));
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
  const Levels levels = codec.decode(read_file(options.in, options.max_bytes), options.max_values);
  const Array array = options.levels ? level_array(levels) : codec.dequantize(levels);
  const std::string name = options.tensor.empty() ? "x" : options.tensor;
  write_array(options.out, name, array);
  std::printf("%s %s\n", shape_text(array.shape).c_str(), array.dtype.c_str());
}

// Prints a stream; returns false where a chunk is damaged.
bool print_stream(size_t index, const StreamHeader& header, std::span<const uint8_t> stream) {
  const size_t before = stream.size() - header.payload;
  std::printf("stream %zu: %s, [%" PRIu32 ", %" PRIu32 ", %" PRIu32 "], table set %" PRIu16
              ", %zu bytes\n",
              index, coder_name(header.coder), header.components, header.height, header.width,
              header.table_id, stream.size());
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

void info(const Options& options) {
  const std::vector<uint8_t> bytes = read_file(options.in, options.max_bytes);
  bool good = true;
  size_t index = 0;
  for (std::span<const uint8_t> left = bytes; !left.empty(); ++index) {
    StreamHeader header;
    size_t size = 0;
    if (const Status status = read_header(left, header, size); status != Status::kOk) {
      throw Error(options.in + ": stream " + std::to_string(index) + ": " + message(status));
    }
    good &= print_stream(index, header, left.first(size));
    left = left.subspan(size);
  }
  std::printf("%zu streams, %zu bytes\n", index, bytes.size());
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
  CLI::App* command = app.add_subcommand("encode", "Make a stream of each image of a tensor");
  add_codec(command, options);
  command
      ->add_option("IN", options.in,
                   "Tensor [N, C, H, W], or its int16 levels [N, K, H, W]: .npy, .safetensors")
      ->required();
  command->add_option("OUT", options.out, "Streams, back to back")->required();
  command->add_option("--tensor", options.tensor, "Which tensor of a .safetensors file");
  command->callback([&] { encode(options); });

  command = app.add_subcommand("decode", "Make a tensor of streams");
  add_codec(command, options);
  command->add_option("IN", options.in, "Streams")->required();
  command->add_option("OUT", options.out, "float32 [N, C, H, W]: .npy, .safetensors")->required();
  command->add_option("--tensor", options.tensor, "Its name in a .safetensors file (x)");
  command->add_flag("--levels", options.levels, "Write int16 levels [N, K, H, W] instead");
  command
      ->add_option("--max-values", options.max_values,
                   "Of the tensor, and of its levels, at most (2^28)")
      ->check(whole_number(1, kMostSize));
  command->callback([&] { decode(options); });

  command = app.add_subcommand("info", "Show what streams consist of, and check them");
  command->add_option("IN", options.in, "Streams")->required();
  add_max_bytes(command, options);
  command->callback([&] { info(options); });

  CLI11_PARSE(app, argc, argv);
  return 0;
}

}  // namespace
}  // namespace fmtc::codec

int main(int argc, char** argv) {
  try {
    return fmtc::codec::run(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "fmtc_codec: %s\n", fmtc::codec::printable(error.what()).c_str());
    return 1;
  }
}
