#include "ops/streams.h"

#include <algorithm>
#include <array>
#include <new>
#include <vector>

#include "core/buffer.h"
#include "core/positions.h"
#include "ops/arrange.h"
#include "ops/memory.h"
#include "ops/parallel.h"

namespace fmtc::ops {
namespace {

// The chunks of all images that are encoded, as tasks, and what they were coded to.
struct Batch {
  const ComponentTables& tables;
  std::span<const StreamHeader> headers;     // of each image
  std::span<const int16_t> values;           // of each image, header.values()
  std::vector<std::vector<uint8_t>>& bytes;  // [images * chunks]
  std::vector<ChunkPayload> payloads;        // [images * chunks], of these bytes

  Batch(const ComponentTables& tables, std::span<const StreamHeader> headers,
        std::span<const int16_t> values, std::vector<std::vector<uint8_t>>& bytes)
      : tables(tables),
        headers(headers),
        values(values),
        bytes(bytes),
        payloads(headers.size() * headers.front().chunks()) {
    if (bytes.size() < payloads.size()) bytes.resize(payloads.size());
  }

  int64_t chunks() const { return static_cast<int64_t>(headers.front().chunks()); }
  const StreamHeader& header(int64_t n) const { return headers[static_cast<size_t>(n)]; }
  std::span<const int16_t> image(int64_t n) const {
    return row(values, n, static_cast<int64_t>(headers.front().values()));
  }
};

// Codes chunks `begin` to before `end` into space that stays in the thread's cache, and keeps a
// copy of what they took: the bound is about ten times the payload, and memory that is touched for
// the first time costs more than coding.
void encode_tasks(Batch& batch, int64_t begin, int64_t end, Failures& failures) {
  thread_local Buffer<uint8_t> space;
  thread_local std::vector<EncodeTask> tasks;
  tasks.clear();
  size_t bytes = 0;
  for (int64_t task = begin; task < end; ++task) {
    const int64_t image = task / batch.chunks();
    const auto chunk = static_cast<uint64_t>(task % batch.chunks());
    tasks.push_back({&batch.header(image), batch.image(image), chunk, {}, {}, Status::kOk});
    bytes += chunk_bound(batch.header(image), chunk);
  }
  std::span<uint8_t> left = space.take(bytes);
  for (EncodeTask& task : tasks) {
    task.out = left.first(chunk_bound(*task.header, task.chunk));
    left = left.subspan(task.out.size());
  }
  encode_chunks(batch.tables, tasks);
  for (size_t i = 0; i < tasks.size(); ++i) {
    const size_t index = static_cast<size_t>(begin) + i;
    failures.add(static_cast<int64_t>(index), tasks[i].status);
    if (tasks[i].status != Status::kOk) continue;
    batch.bytes[index].assign(tasks[i].payload.bytes.begin(), tasks[i].payload.bytes.end());
    batch.payloads[index] = {batch.bytes[index], tasks[i].payload.checksum};
  }
}

// Encodes all chunks; `failed` becomes the image of the first that could not be.
Status encode_all(Batch& batch, const ForEach& for_each, int64_t& failed) {
  if (batch.chunks() == 0) return Status::kOk;
  const auto together = static_cast<int64_t>(chunks_together(batch.headers.front()));
  Failures failures;
  for_each(static_cast<int64_t>(batch.payloads.size()), [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; task += together) {
      try {
        encode_tasks(batch, task, std::min(task + together, end), failures);
      } catch (const std::bad_alloc&) {
        failures.add(task, Status::kOutOfMemory);
      }
    }
  });
  if (failures.status() != Status::kOk) failed = failures.task() / batch.chunks();
  return failures.status();
}

// Makes a stream of each image's chunks in `bytes` [images, buffer], which holds zeros.
Status finish_streams(const Batch& batch, std::span<uint8_t> bytes, int64_t buffer,
                      std::span<int64_t> used, const ForEach& for_each) {
  const std::span<const ChunkPayload> payloads(batch.payloads);
  Failures failures;
  for_each(static_cast<int64_t>(batch.headers.size()), [&](int64_t begin, int64_t end) {
    for (int64_t n = begin; n < end; ++n) {
      size_t size = 0;
      failures.add(n, finish_stream(batch.header(n), row(payloads, n, batch.chunks()),
                                    row(bytes, n, buffer), size));
      used[static_cast<size_t>(n)] = static_cast<int64_t>(size);
    }
  });
  return failures.status();
}

// What payloads are kept in from call to call, as far as it is little.
std::vector<std::vector<uint8_t>>& payload_space() {
  constexpr size_t kMostKept = size_t{8} << 20;
  thread_local std::vector<std::vector<uint8_t>> space;
  size_t kept = 0;
  for (const auto& one : space) kept += one.capacity();
  if (kept > kMostKept) space.clear();
  return space;
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
                                 int64_t buffer, std::span<const int64_t> used,
                                 const ForEach& for_each) {
  std::vector<Stream> streams(used.size());
  const auto images = static_cast<int64_t>(used.size());
  for_each(images, [&](int64_t begin, int64_t end) {
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
                std::span<int16_t> levels, int64_t values_of_image, const ForEach& for_each) {
  Tasks tasks = chunk_tasks(streams, levels, values_of_image);
  const auto count = static_cast<int64_t>(tasks.chunks.size());
  for_each(count, [&](int64_t begin, int64_t end) {
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
                   std::span<int16_t> levels, const StreamHeader& expected,
                   const ForEach& for_each) {
  const auto images = static_cast<int64_t>(streams.size());
  for_each(images, [&](int64_t begin, int64_t end) {
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
void decode_opened(const Coding& coding, std::vector<Stream>& streams, std::span<int16_t> levels,
                   const ForEach& for_each) {
  const StreamHeader& expected = coding.header;
  const auto values_of_image = static_cast<int64_t>(expected.values());
  const auto levels_of_image = static_cast<int64_t>(expected.layout().levels());
  std::vector<Stream*> opened;
  for (Stream& stream : streams) {
    if (is_open(stream)) opened.push_back(&stream);
  }
  if (opened.empty()) return;
  if (expected.classes > 1) {
    thread_local Buffer<int16_t> space;
    const std::span<int16_t> coded = space.take(streams.size() * expected.values());
    decode_all(streams, coding.tables, coded, values_of_image, for_each);
    restore_batch(streams, coded, levels, expected, for_each);
  } else {
    decode_all(streams, coding.tables, levels, values_of_image, for_each);
  }
  for (const Stream* stream : opened) {
    const int64_t n = stream - streams.data();
    if (!is_open(*stream)) std::ranges::fill(row(levels, n, levels_of_image), int16_t{0});
  }
}

}  // namespace

Status encode_images(const ComponentTables& tables, std::span<const StreamHeader> headers,
                     std::span<const int16_t> values, std::span<uint8_t> bytes, int64_t buffer,
                     std::span<int64_t> used, const ForEach& for_each, int64_t& failed) {
  if (headers.empty()) return Status::kOk;
  Batch batch(tables, headers, values, payload_space());
  const Status status = encode_all(batch, for_each, failed);
  return status != Status::kOk ? status : finish_streams(batch, bytes, buffer, used, for_each);
}

void decode_images(const Coding& coding, std::span<const uint8_t> bytes, int64_t buffer,
                   std::span<const int64_t> used, std::span<int16_t> levels,
                   std::span<int32_t> status, const ForEach& for_each) {
  std::vector<Stream> streams = open_streams(coding, bytes, buffer, used, for_each);
  const auto levels_of_image = static_cast<int64_t>(coding.header.layout().levels());
  for (size_t n = 0; n < streams.size(); ++n) {
    if (is_open(streams[n])) continue;
    std::ranges::fill(row(levels, static_cast<int64_t>(n), levels_of_image), int16_t{0});
  }
  decode_opened(coding, streams, levels, for_each);
  std::ranges::transform(streams, status.begin(),
                         [](const Stream& s) { return static_cast<int32_t>(s.status); });
}

std::tuple<Tensor, Tensor> encode_on_host(const char* op, const Coding& coding,
                                          const Tensor& levels, int64_t buffer, NoCode no_code,
                                          const std::optional<Tensor>& maps) {
  Tensor input = contiguous_of(levels);
  std::optional<Arranged> arranged;
  if (maps.has_value()) {
    arranged = arrange_images(op, input, *maps, coding.header.classes);
    input = arranged->values;
  }
  const int64_t images = levels.size(0);
  std::vector<StreamHeader> headers(static_cast<size_t>(images), coding.header);
  if (arranged.has_value()) {
    for (int64_t n = 0; n < images; ++n) {
      std::ranges::copy(row(values<int64_t>(arranged->positions), n, coding.header.classes),
                        headers[static_cast<size_t>(n)].positions.begin());
    }
  }
  const std::array<int64_t, 2> shape = {images, buffer};
  const Tensor bytes = zeros(shape, ScalarType::Byte);
  const Tensor used = torch::stable::empty({images}, ScalarType::Long);
  int64_t failed = 0;
  const Status status =
      encode_images(coding.tables, headers, values<int16_t>(input), mutable_values<uint8_t>(bytes),
                    buffer, mutable_values<int64_t>(used), for_each_torch, failed);
  if (status == Status::kNoCode && no_code != nullptr) {
    const auto size = static_cast<int64_t>(coding.header.values());
    no_code(coding, row(values<int16_t>(input), failed, size), failed);
  }
  check_status(op, status);
  return {bytes, used};
}

std::tuple<Tensor, Tensor> decode_on_host(const Coding& coding, const Tensor& bytes,
                                          const Tensor& used) {
  const Tensor buffers = contiguous_of(bytes);
  const Tensor sizes = contiguous_of(used);
  const StreamHeader& expected = coding.header;
  const int64_t images = bytes.size(0);
  std::vector<Stream> streams = open_streams(coding, values<uint8_t>(buffers), bytes.size(1),
                                             values<int64_t>(sizes), for_each_torch);
  const bool all_open = std::ranges::all_of(streams, is_open);
  // Levels of streams that could not be opened are never touched.
  const std::array<int64_t, 4> shape = {images, expected.components, expected.height,
                                        expected.width};
  const Tensor levels =
      all_open ? empty(shape, ScalarType::Short) : zeros(shape, ScalarType::Short);
  decode_opened(coding, streams, mutable_values<int16_t>(levels), for_each_torch);
  const Tensor status = torch::stable::empty({images}, ScalarType::Int);
  for (int64_t n = 0; n < images; ++n) {
    const Status result = streams[static_cast<size_t>(n)].status;
    status.mutable_data_ptr<int32_t>()[n] = static_cast<int32_t>(result);
  }
  return {levels, status};
}

}  // namespace fmtc::ops
