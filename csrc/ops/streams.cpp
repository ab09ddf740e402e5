#include "ops/streams.h"

#include <algorithm>
#include <array>
#include <new>
#include <vector>

#include "core/positions.h"
#include "ops/arrange.h"
#include "ops/memory.h"
#include "ops/parallel.h"

namespace fmtc::ops {
namespace {

// The chunks of all images that are encoded, as tasks, and what they were coded to.
struct Batch {
  const Coding& coding;
  std::vector<StreamHeader> headers;  // of each image
  std::span<const int16_t> levels;    // or arrangements, header.values() an image
  int64_t images;
  std::vector<std::vector<uint8_t>> bytes;  // [images * chunks]
  std::vector<ChunkPayload> payloads;       // [images * chunks], of these bytes

  Batch(const Coding& coding, const Tensor& levels)
      : coding(coding),
        headers(static_cast<size_t>(levels.size(0)), coding.header),
        levels(values<int16_t>(levels)),
        images(levels.size(0)),
        bytes(static_cast<size_t>(images * chunks())),
        payloads(bytes.size()) {}

  int64_t chunks() const { return static_cast<int64_t>(coding.header.chunks()); }
  const StreamHeader& header(int64_t n) const { return headers[static_cast<size_t>(n)]; }
  // positions: of each class of each image, [images * classes]
  void set_positions(std::span<const int64_t> positions) {
    for (int64_t n = 0; n < images; ++n) {
      std::ranges::copy(row(positions, n, coding.header.classes),
                        headers[static_cast<size_t>(n)].positions.begin());
    }
  }
  std::span<const int16_t> image(int64_t n) const {
    return row(levels, n, static_cast<int64_t>(coding.header.values()));
  }
};

// Codes a chunk into space that stays in the thread's cache, and keeps a copy of what it took: the
// bound is about ten times the payload, and memory that is touched for the first time costs more
// than coding.
Status encode_task(Batch& batch, int64_t task) {
  thread_local std::vector<uint8_t> space;
  const auto index = static_cast<size_t>(task);
  const auto chunk = static_cast<uint64_t>(task % batch.chunks());
  const int64_t image = task / batch.chunks();
  const StreamHeader& header = batch.header(image);
  space.resize(std::max(space.size(), chunk_bound(header, chunk)));
  ChunkPayload& payload = batch.payloads[index];
  const Status status =
      encode_chunk(header, batch.image(image), batch.coding.tables, chunk, space, payload);
  if (status != Status::kOk) return status;
  batch.bytes[index].assign(payload.bytes.begin(), payload.bytes.end());
  payload.bytes = batch.bytes[index];
  return Status::kOk;
}

void encode_chunks(const char* op, Batch& batch, NoCode no_code) {
  if (batch.chunks() == 0) return;
  Failures failures;
  for_each_task(batch.images * batch.chunks(), failures, [&](int64_t task) {
    try {
      return encode_task(batch, task);
    } catch (const std::bad_alloc&) {
      return Status::kOutOfMemory;
    }
  });
  if (failures.status() == Status::kNoCode && no_code != nullptr) {
    const int64_t n = failures.task() / batch.chunks();
    no_code(batch.coding, batch.image(n), n);
  }
  check_status(op, failures.status());
}

// Makes a stream of each image's chunks in `bytes` [images, buffer], which holds zeros.
void finish_streams(const char* op, const Batch& batch, std::span<uint8_t> bytes, int64_t buffer,
                    std::span<int64_t> used) {
  Failures failures;
  const std::span<const ChunkPayload> payloads(batch.payloads);
  for_each_task(batch.images, failures, [&](int64_t n) {
    size_t size = 0;
    const Status status = finish_stream(batch.header(n), row(payloads, n, batch.chunks()),
                                        row(bytes, n, buffer), size);
    used[static_cast<size_t>(n)] = static_cast<int64_t>(size);
    return status;
  });
  check_status(op, failures.status());
}

// One stream of the batch that is decoded. What is wrong with it goes into its status; the others
// go on.
struct Stream {
  std::span<const uint8_t> bytes;
  StreamHeader header;
  Status status = Status::kOk;
};

Stream open(std::span<const uint8_t> buffer, int64_t used, const StreamHeader& expected) {
  Stream stream;
  if (used < 0 || used > static_cast<int64_t>(buffer.size())) {
    stream.status = Status::kBadArgument;
    return stream;
  }
  stream.bytes = buffer.first(static_cast<size_t>(used));
  stream.status = open_stream(stream.bytes, expected, stream.header);
  return stream;
}

// Opening looks at all bytes of a stream with one chunk, so it is done on all threads.
std::vector<Stream> open_streams(const Coding& coding, std::span<const uint8_t> bytes,
                                 int64_t buffer, std::span<const int64_t> used) {
  std::vector<Stream> streams(used.size());
  const auto images = static_cast<int64_t>(used.size());
  torch::stable::parallel_for(0, images, 1, [&](int64_t begin, int64_t end) {
    for (int64_t n = begin; n < end; ++n) {
      const auto i = static_cast<size_t>(n);
      streams[i] = open(row(bytes, n, buffer), used[i], coding.header);
    }
  });
  return streams;
}

// The chunks of the streams that could be opened. Encoders may choose chunks of other sizes, so
// streams can differ in how many they have.
struct Tasks {
  std::vector<ChunkTask> chunks;
  std::vector<Stream*> streams;  // of each chunk
};

Tasks chunk_tasks(std::vector<Stream>& streams, std::span<int16_t> levels,
                  int64_t values_of_image) {
  Tasks tasks;
  for (size_t n = 0; n < streams.size(); ++n) {
    Stream& stream = streams[n];
    if (stream.status != Status::kOk) continue;
    for (uint64_t chunk = 0; chunk < stream.header.chunks(); ++chunk) {
      tasks.chunks.push_back({&stream.header, stream.bytes, chunk,
                              row(levels, static_cast<int64_t>(n), values_of_image)});
      tasks.streams.push_back(&stream);
    }
  }
  return tasks;
}

// Decodes all chunks, each thread as many that follow each other; a stream gets the status of its
// first damaged chunk.
void decode_all(std::vector<Stream>& streams, const ComponentTables& tables,
                std::span<int16_t> levels, int64_t values_of_image) {
  Tasks tasks = chunk_tasks(streams, levels, values_of_image);
  const auto count = static_cast<int64_t>(tasks.chunks.size());
  torch::stable::parallel_for(0, count, 1, [&](int64_t begin, int64_t end) {
    const auto all = std::span(tasks.chunks);
    decode_chunks(tables,
                  all.subspan(static_cast<size_t>(begin), static_cast<size_t>(end - begin)));
  });
  for (size_t i = 0; i < tasks.chunks.size(); ++i) {
    Status& status = tasks.streams[i]->status;
    if (status == Status::kOk) status = tasks.chunks[i].status;
  }
}

bool is_open(const Stream& stream) { return stream.status == Status::kOk; }

// Back from arrangements to levels, for the streams that could be decoded.
void restore_batch(std::vector<Stream>& streams, std::span<const int16_t> arranged,
                   std::span<int16_t> levels, const StreamHeader& expected) {
  const auto images = static_cast<int64_t>(streams.size());
  torch::stable::parallel_for(0, images, 1, [&](int64_t begin, int64_t end) {
    for (int64_t n = begin; n < end; ++n) {
      Stream& stream = streams[static_cast<size_t>(n)];
      if (stream.status != Status::kOk) continue;
      stream.status =
          restore(row(arranged, n, static_cast<int64_t>(expected.values())), stream.header.layout(),
                  row(levels, n, static_cast<int64_t>(expected.layout().levels())));
    }
  });
}

// Fills the levels [images, K, H, W] of streams that could be opened; with 0 those of which a chunk
// then turns out to be damaged.
void decode_opened(const Coding& coding, std::vector<Stream>& streams, const Tensor& levels) {
  const StreamHeader& expected = coding.header;
  const auto values_of_image = static_cast<int64_t>(expected.values());
  const auto levels_of_image = static_cast<int64_t>(expected.layout().levels());
  const auto all_levels = mutable_values<int16_t>(levels);
  std::vector<Stream*> opened;
  for (Stream& stream : streams) {
    if (is_open(stream)) opened.push_back(&stream);
  }
  if (opened.empty()) return;
  if (expected.classes > 1) {
    const std::array<int64_t, 2> shape = {static_cast<int64_t>(streams.size()), values_of_image};
    const Tensor coded = empty(shape, ScalarType::Short);
    decode_all(streams, coding.tables, mutable_values<int16_t>(coded), values_of_image);
    restore_batch(streams, values<int16_t>(coded), all_levels, expected);
  } else {
    decode_all(streams, coding.tables, all_levels, values_of_image);
  }
  for (const Stream* stream : opened) {
    const int64_t n = stream - streams.data();
    if (!is_open(*stream)) std::ranges::fill(row(all_levels, n, levels_of_image), int16_t{0});
  }
}

}  // namespace

std::tuple<Tensor, Tensor> encode_on_host(const char* op, const Coding& coding,
                                          const Tensor& levels, int64_t buffer, NoCode no_code,
                                          const std::optional<Tensor>& maps) {
  Tensor input = torch::stable::contiguous(levels);
  std::optional<Arranged> arranged;
  if (maps.has_value()) {
    arranged = arrange_images(op, input, *maps, coding.header.classes);
    input = arranged->values;
  }
  Batch batch(coding, input);
  if (arranged.has_value()) batch.set_positions(values<int64_t>(arranged->positions));
  encode_chunks(op, batch, no_code);
  const std::array<int64_t, 2> shape = {batch.images, buffer};
  const Tensor bytes = zeros(shape, ScalarType::Byte);
  const Tensor used = torch::stable::empty({batch.images}, ScalarType::Long);
  finish_streams(op, batch, mutable_values<uint8_t>(bytes), buffer, mutable_values<int64_t>(used));
  return {bytes, used};
}

std::tuple<Tensor, Tensor> decode_on_host(const Coding& coding, const Tensor& bytes,
                                          const Tensor& used) {
  const Tensor buffers = torch::stable::contiguous(bytes);
  const Tensor sizes = torch::stable::contiguous(used);
  const StreamHeader& expected = coding.header;
  const int64_t images = bytes.size(0);
  std::vector<Stream> streams =
      open_streams(coding, values<uint8_t>(buffers), bytes.size(1), values<int64_t>(sizes));
  const bool all_open = std::ranges::all_of(streams, is_open);
  // Levels of streams that could not be opened are never touched.
  const std::array<int64_t, 4> shape = {images, expected.components, expected.height,
                                        expected.width};
  const Tensor levels =
      all_open ? empty(shape, ScalarType::Short) : zeros(shape, ScalarType::Short);
  decode_opened(coding, streams, levels);
  const Tensor status = torch::stable::empty({images}, ScalarType::Int);
  for (int64_t n = 0; n < images; ++n) {
    const Status result = streams[static_cast<size_t>(n)].status;
    status.mutable_data_ptr<int32_t>()[n] = static_cast<int32_t>(result);
  }
  return {levels, status};
}

}  // namespace fmtc::ops
