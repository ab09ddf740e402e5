#include <torch/csrc/stable/library.h>

#include <algorithm>
#include <tuple>

#include "core/huffman.h"
#include "core/stream.h"
#include "ops/checks.h"
#include "ops/huffman.h"
#include "ops/parallel.h"

namespace fmtc::ops {
namespace {

constexpr const char* kOp = "huffman_encode";

// Bytes for one stream, at least stream_bound(header): 15 bits a value, the sizes of 4 sub-streams
// and the directory entry of each chunk, the header. Kept free of branches, so that the fake in
// fmtc/ops.py gives the same number for symbolic shapes.
int64_t buffer_bytes(const StreamHeader& header) {
  return 2 * static_cast<int64_t>(header.values()) + 24 * static_cast<int64_t>(header.chunks()) +
         static_cast<int64_t>(kHeaderBytes);
}

[[noreturn]] void throw_no_code(std::span<const int16_t> levels, int64_t image,
                                const ComponentTables& tables) {
  const size_t index = find_uncodable(levels, tables);
  const uint64_t component = index / tables.plane;
  STD_TORCH_CHECK(false, "fmtc::huffman_encode: level ", levels[index], " of component ", component,
                  " in image ", image, " has no code in table ", tables.table_of[component],
                  "; the tables are for levels from ", tables.lo, " to ",
                  tables.lo + static_cast<int64_t>(tables.width) - 1);
}

// The chunks of all images, as tasks.
struct Batch {
  StreamHeader header;
  ComponentTables tables;
  std::span<const int16_t> levels;
  std::span<uint8_t> bytes;
  int64_t images, buffer;

  int64_t chunks() const { return static_cast<int64_t>(header.chunks()); }
  std::span<const int16_t> image(int64_t n) const {
    return row(levels, n, static_cast<int64_t>(header.values()));
  }
  std::span<uint8_t> stream(int64_t n) const { return row(bytes, n, buffer); }
};

void encode_chunks(const Batch& batch) {
  if (batch.chunks() == 0) return;
  Failures failures;
  for_each_task(batch.images * batch.chunks(), failures, [&](int64_t task) {
    const int64_t n = task / batch.chunks();
    return encode_chunk(batch.header, batch.image(n), batch.tables,
                        static_cast<uint64_t>(task % batch.chunks()), batch.stream(n));
  });
  if (failures.status() == Status::kNoCode) {
    const int64_t n = failures.task() / batch.chunks();
    throw_no_code(batch.image(n), n, batch.tables);
  }
  check_status(kOp, failures.status());
}

// Closes the gaps between the chunks and clears what is behind the stream, so that the same levels
// always give the same tensor.
void finish_streams(const Batch& batch, std::span<int64_t> used) {
  Failures failures;
  for_each_task(batch.images, failures, [&](int64_t n) {
    const auto stream = batch.stream(n);
    size_t size = 0;
    const Status status = finish_stream(batch.header, stream, size);
    std::fill(stream.begin() + static_cast<int64_t>(size), stream.end(), uint8_t{0});
    used[static_cast<size_t>(n)] = static_cast<int64_t>(size);
    return status;
  });
  check_status(kOp, failures.status());
}

std::tuple<Tensor, Tensor> huffman_encode(const Tensor& levels, int64_t lo, const Tensor& table_of,
                                          const Tensor& encode_table, int64_t table_id,
                                          int64_t crop_h, int64_t crop_w) {
  check_dtype(kOp, "levels", levels, ScalarType::Short);
  check_dim(kOp, "levels", levels, 4, "[N, K, H, W]");
  const Tensor input = torch::stable::contiguous(levels);
  const Tensor component_table = torch::stable::contiguous(table_of);
  const Tensor tables = torch::stable::contiguous(encode_table);
  check_tables(kOp, "encode_table", tables, lo, component_table, levels.size(1), table_id);
  check_between(kOp, "dimension 1 of encode_table", tables.size(1), 1, kMaxSymbols);
  const StreamHeader header =
      checked_header(kOp, levels.size(1), levels.size(2), levels.size(3), table_id, crop_h, crop_w);
  const int64_t images = levels.size(0), buffer = buffer_bytes(header);
  const Tensor bytes = torch::stable::empty({images, buffer}, ScalarType::Byte);
  const Tensor used = torch::stable::empty({images}, ScalarType::Long);
  const Batch batch{header,
                    component_tables(tables, lo, component_table, header),
                    values<int16_t>(input),
                    mutable_values<uint8_t>(bytes),
                    images,
                    buffer};
  check_status(kOp, check_encode_tables(batch.tables, header.components));
  encode_chunks(batch);
  finish_streams(batch, mutable_values<int64_t>(used));
  return {bytes, used};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(fmtc, CPU, m) { m.impl("huffman_encode", TORCH_BOX(&huffman_encode)); }

}  // namespace fmtc::ops
