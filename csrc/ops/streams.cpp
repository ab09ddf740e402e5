#include "ops/streams.h"

#include <algorithm>
#include <limits>
#include <vector>

#include "core/words.h"
#include "ops/parallel.h"

namespace fmtc::ops {
namespace {

template <typename T>
constexpr int64_t kMax = std::numeric_limits<T>::max();

void check_table_of(const char* op, const TableArgument& argument, const Tensor& table_of,
                    int64_t components) {
  check_dtype(op, "table_of", table_of, ScalarType::Long);
  check_dim(op, "table_of", table_of, 1, "[K]");
  check_size(op, "table_of", table_of, 0, components, "the components K of levels");
  const auto all = values<int64_t>(table_of);
  const int64_t tables = argument.entries.size(0);
  const auto outside = std::find_if(all.begin(), all.end(),
                                    [&](int64_t table) { return table < 0 || table >= tables; });
  STD_TORCH_CHECK(outside == all.end(), "fmtc::", op, ": table_of must be from 0 to ", tables - 1,
                  " (the tables of ", argument.name, "), but component ", outside - all.begin(),
                  " has ", outside == all.end() ? 0 : *outside);
}

StreamHeader checked_header(const char* op, Coder coder, int64_t components, int64_t height,
                            int64_t width, int64_t table_id, int64_t crop_h, int64_t crop_w) {
  check_between(op, "the number of components", components, 0, kMax<uint32_t>);
  check_between(op, "the height", height, 0, kMax<uint32_t>);
  check_between(op, "the width", width, 0, kMax<uint32_t>);
  check_between(op, "table_id", table_id, 0, kMax<uint16_t>);
  check_between(op, "crop_h", crop_h, 0, kMax<uint8_t>);
  check_between(op, "crop_w", crop_w, 0, kMax<uint8_t>);
  const StreamHeader header =
      make_header(coder, static_cast<uint32_t>(components), static_cast<uint32_t>(height),
                  static_cast<uint32_t>(width), static_cast<uint16_t>(table_id),
                  static_cast<uint8_t>(crop_h), static_cast<uint8_t>(crop_w));
  STD_TORCH_CHECK(check_shape(header) == Status::kOk, "fmtc::", op, ": an image of ", components,
                  " x ", height, " x ", width, " values is too large for one stream");
  return header;
}

// The chunks of all images that are encoded, as tasks.
struct Batch {
  const Coding& coding;
  std::span<const int16_t> levels;
  std::span<uint8_t> bytes;
  int64_t images, buffer;

  int64_t chunks() const { return static_cast<int64_t>(coding.header.chunks()); }
  std::span<const int16_t> image(int64_t n) const {
    return row(levels, n, static_cast<int64_t>(coding.header.values()));
  }
  std::span<uint8_t> stream(int64_t n) const { return row(bytes, n, buffer); }
};

void encode_chunks(const char* op, const Batch& batch, NoCode no_code) {
  if (batch.chunks() == 0) return;
  Failures failures;
  for_each_task(batch.images * batch.chunks(), failures, [&](int64_t task) {
    const int64_t n = task / batch.chunks();
    return encode_chunk(batch.coding.header, batch.image(n), batch.coding.tables,
                        static_cast<uint64_t>(task % batch.chunks()), batch.stream(n));
  });
  if (failures.status() == Status::kNoCode && no_code != nullptr) {
    const int64_t n = failures.task() / batch.chunks();
    no_code(batch.coding, batch.image(n), n);
  }
  check_status(op, failures.status());
}

// Closes the gaps between the chunks and clears what is behind the stream, so that the same levels
// always give the same tensor.
void finish_streams(const char* op, const Batch& batch, std::span<int64_t> used) {
  Failures failures;
  for_each_task(batch.images, failures, [&](int64_t n) {
    const auto stream = batch.stream(n);
    size_t size = 0;
    const Status status = finish_stream(batch.coding.header, stream, size);
    std::fill(stream.begin() + static_cast<int64_t>(size), stream.end(), uint8_t{0});
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

void check_bytes(const char* op, const Tensor& bytes, const Tensor& used) {
  check_dtype(op, "bytes", bytes, ScalarType::Byte);
  check_dim(op, "bytes", bytes, 2, "[N, bytes]");
  check_dtype(op, "used", used, ScalarType::Long);
  check_dim(op, "used", used, 1, "[N]");
  check_size(op, "used", used, 0, bytes.size(0), "the streams N of bytes");
}

}  // namespace

Coding make_coding(const char* op, Coder coder, const TableArgument& argument, int64_t lo,
                   const Tensor& table_of, int64_t table_id, int64_t components, int64_t height,
                   int64_t width, int64_t crop_h, int64_t crop_w) {
  check_dtype(op, argument.name, argument.entries, ScalarType::Int);
  check_dim(op, argument.name, argument.entries, 2, "[T, entries]");
  const Tensor table_entries = torch::stable::contiguous(argument.entries);
  const Tensor component_table = torch::stable::contiguous(table_of);
  check_table_of(op, argument, component_table, components);
  check_between(op, "lo", lo, std::numeric_limits<int16_t>::min(), kMax<int16_t>);
  const StreamHeader header =
      checked_header(op, coder, components, height, width, table_id, crop_h, crop_w);
  const ComponentTables tables = {
      static_cast<int32_t>(lo), static_cast<size_t>(table_entries.size(1)), entries(table_entries),
      values<int64_t>(component_table), header.plane()};
  return {table_entries, component_table, header, tables};
}

Coding make_word_coding(const char* op, Coder coder, int64_t lo, int64_t word_bits,
                        int64_t table_id, int64_t components, int64_t height, int64_t width,
                        int64_t crop_h, int64_t crop_w) {
  check_between(op, "word_bits", word_bits, 1, kMaxWordBits);
  check_between(op, "lo", lo, std::numeric_limits<int16_t>::min(),
                kMax<int16_t> - (int64_t{1} << word_bits) + 1);
  const StreamHeader header =
      checked_header(op, coder, components, height, width, table_id, crop_h, crop_w);
  const ComponentTables tables = {
      static_cast<int32_t>(lo), static_cast<size_t>(word_bits), {}, {}, header.plane()};
  return {Tensor(), Tensor(), header, tables};
}

void throw_no_word(const char* op, const Coding& coding, std::span<const int16_t> levels,
                   int64_t image) {
  const Words words(coding.tables);
  const auto wrong = std::find_if(levels.begin(), levels.end(), [&](int16_t level) {
    return words.word(level) >= words.count();
  });
  const auto component = static_cast<uint64_t>(wrong - levels.begin()) / coding.header.plane();
  STD_TORCH_CHECK(false, "fmtc::", op, ": level ", wrong == levels.end() ? 0 : *wrong,
                  " of component ", component, " in image ", image, " has no word of ", words.bits,
                  " bits; these are for levels from ", words.lo, " to ",
                  words.level(words.count() - 1));
}

void check_levels(const char* op, const Tensor& levels) {
  check_dtype(op, "levels", levels, ScalarType::Short);
  check_dim(op, "levels", levels, 4, "[N, K, H, W]");
}

std::tuple<Tensor, Tensor> encode_batch(const char* op, const Coding& coding, const Tensor& levels,
                                        int64_t buffer, NoCode no_code) {
  const Tensor input = torch::stable::contiguous(levels);
  const int64_t images = levels.size(0);
  const Tensor bytes = torch::stable::empty({images, buffer}, ScalarType::Byte);
  const Tensor used = torch::stable::empty({images}, ScalarType::Long);
  const Batch batch{coding, values<int16_t>(input), mutable_values<uint8_t>(bytes), images, buffer};
  encode_chunks(op, batch, no_code);
  finish_streams(op, batch, mutable_values<int64_t>(used));
  return {bytes, used};
}

std::tuple<Tensor, Tensor> decode_batch(const char* op, const Coding& coding, const Tensor& bytes,
                                        const Tensor& used) {
  check_bytes(op, bytes, used);
  const Tensor buffers = torch::stable::contiguous(bytes);
  const Tensor sizes = torch::stable::contiguous(used);
  const StreamHeader& expected = coding.header;
  const int64_t images = bytes.size(0);
  const auto values_of_image = static_cast<int64_t>(expected.values());
  const Tensor levels = torch::stable::empty(
      {images, expected.components, expected.height, expected.width}, ScalarType::Short);
  const Tensor status = torch::stable::empty({images}, ScalarType::Int);
  const auto all_levels = mutable_values<int16_t>(levels);
  std::vector<Stream> streams =
      open_streams(coding, values<uint8_t>(buffers), bytes.size(1), values<int64_t>(sizes));
  decode_chunks(streams, coding.tables, all_levels, values_of_image);
  for (int64_t n = 0; n < images; ++n) {
    const Status result = streams[static_cast<size_t>(n)].status;
    status.mutable_data_ptr<int32_t>()[n] = static_cast<int32_t>(result);
    if (result != Status::kOk) {
      std::ranges::fill(row(all_levels, n, values_of_image), int16_t{0});
    }
  }
  return {levels, status};
}

}  // namespace fmtc::ops
