#include <torch/csrc/stable/library.h>

#include <algorithm>
#include <tuple>
#include <vector>

#include "core/huffman.h"
#include "core/stream.h"
#include "ops/checks.h"
#include "ops/huffman.h"
#include "ops/parallel.h"

namespace fmtc::ops {
namespace {

constexpr const char* kOp = "huffman_decode";

// One stream of the batch. What is wrong with it goes into its status; the others go on.
struct Stream {
  std::span<const uint8_t> bytes;
  StreamHeader header;
  Status status = Status::kOk;
};

// Checks everything but the contents of the chunks.
Stream open_stream(std::span<const uint8_t> buffer, int64_t used, const StreamHeader& expected) {
  Stream stream;
  if (used < 0 || used > static_cast<int64_t>(buffer.size())) {
    stream.status = Status::kBadArgument;
    return stream;
  }
  stream.bytes = buffer.first(static_cast<size_t>(used));
  size_t size = 0;
  stream.status = read_header(stream.bytes, stream.header, size);
  if (stream.status == Status::kOk && size != stream.bytes.size()) {
    stream.status = Status::kTrailingBytes;
  }
  if (stream.status == Status::kOk) {
    stream.status = check_expected(stream.header, expected.coder, expected.table_id,
                                   expected.components, expected.height, expected.width);
  }
  return stream;
}

// A chunk of a stream that could be opened: encoders may choose chunks of other sizes, so streams
// can differ in how many they have.
struct Task {
  int64_t image;
  uint64_t chunk;
  Status status = Status::kOk;
};

std::vector<Task> chunk_tasks(const std::vector<Stream>& streams) {
  std::vector<Task> tasks;
  for (size_t n = 0; n < streams.size(); ++n) {
    if (streams[n].status != Status::kOk) continue;
    for (uint64_t chunk = 0; chunk < streams[n].header.chunks(); ++chunk) {
      tasks.push_back({static_cast<int64_t>(n), chunk});
    }
  }
  return tasks;
}

// Decodes all chunks; a stream gets the status of its first damaged chunk.
void decode_chunks(std::vector<Stream>& streams, const ComponentTables& tables,
                   std::span<int16_t> levels, int64_t values_of_image) {
  std::vector<Task> tasks = chunk_tasks(streams);
  const auto count = static_cast<int64_t>(tasks.size());
  torch::stable::parallel_for(0, count, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      Task& task = tasks[static_cast<size_t>(i)];
      const Stream& stream = streams[static_cast<size_t>(task.image)];
      task.status = decode_chunk(stream.header, stream.bytes, tables, task.chunk,
                                 row(levels, task.image, values_of_image));
    }
  });
  for (const Task& task : tasks) {
    Status& status = streams[static_cast<size_t>(task.image)].status;
    if (status == Status::kOk) status = task.status;
  }
}

void check_bytes(const Tensor& bytes, const Tensor& used) {
  check_dtype(kOp, "bytes", bytes, ScalarType::Byte);
  check_dim(kOp, "bytes", bytes, 2, "[N, bytes]");
  check_dtype(kOp, "used", used, ScalarType::Long);
  check_dim(kOp, "used", used, 1, "[N]");
  check_size(kOp, "used", used, 0, bytes.size(0), "the streams N of bytes");
}

std::tuple<Tensor, Tensor> huffman_decode(const Tensor& bytes, const Tensor& used, int64_t lo,
                                          const Tensor& table_of, const Tensor& decode_table,
                                          int64_t table_id, int64_t channels, int64_t height,
                                          int64_t width) {
  check_bytes(bytes, used);
  const Tensor buffers = torch::stable::contiguous(bytes);
  const Tensor sizes = torch::stable::contiguous(used);
  const Tensor component_table = torch::stable::contiguous(table_of);
  const Tensor tables = torch::stable::contiguous(decode_table);
  check_tables(kOp, "decode_table", tables, lo, component_table, channels, table_id);
  const StreamHeader expected = checked_header(kOp, channels, height, width, table_id, 0, 0);
  const ComponentTables of_component = component_tables(tables, lo, component_table, expected);
  STD_TORCH_CHECK(check_decode_tables(of_component, expected.components) == Status::kOk,
                  "fmtc::huffman_decode: dimension 1 of decode_table must be a power of two from 2 "
                  "to 32768, but is ",
                  tables.size(1));

  const int64_t images = bytes.size(0);
  const auto values_of_image = static_cast<int64_t>(expected.values());
  const Tensor levels = torch::stable::empty({images, channels, height, width}, ScalarType::Short);
  const Tensor status = torch::stable::empty({images}, ScalarType::Int);
  const auto all_levels = mutable_values<int16_t>(levels);
  std::vector<Stream> streams;
  for (int64_t n = 0; n < images; ++n) {
    streams.push_back(open_stream(row(values<uint8_t>(buffers), n, bytes.size(1)),
                                  values<int64_t>(sizes)[static_cast<size_t>(n)], expected));
  }
  decode_chunks(streams, of_component, all_levels, values_of_image);
  for (int64_t n = 0; n < images; ++n) {
    const Status result = streams[static_cast<size_t>(n)].status;
    status.mutable_data_ptr<int32_t>()[n] = static_cast<int32_t>(result);
    if (result != Status::kOk) {
      std::ranges::fill(row(all_levels, n, values_of_image), int16_t{0});
    }
  }
  return {levels, status};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(fmtc, CPU, m) { m.impl("huffman_decode", TORCH_BOX(&huffman_decode)); }

}  // namespace fmtc::ops
