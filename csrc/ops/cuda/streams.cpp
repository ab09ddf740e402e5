#include "ops/cuda/streams.h"

#include <array>

#include "cuda/arrange.h"
#include "cuda/streams.h"
#include "ops/cuda/arrange.h"
#include "ops/cuda/device.h"

namespace fmtc::ops {
namespace {

Tensor space_of(const OnDevice& device, size_t bytes) {
  return device.empty({static_cast<int64_t>(bytes)}, ScalarType::Byte);
}

// The batch for the kernels. Every tensor that it refers to must outlive it.
//   positions  int64 [N, classes], or nothing
cuda::Coded coded_batch(const Coding& coding, int64_t images, const Tensor& positions) {
  cuda::Coded coded = {coding.header, coding.tables, images};
  const auto tables = static_cast<uint64_t>(coding.tables.count());
  if (tables > 0) coded.last_table = tables - 1;
  coded.tables.map = coding.header.layout().map_size();
  if (coding.header.classes > 1) {
    coded.positions = reinterpret_cast<uint64_t*>(positions.mutable_data_ptr<int64_t>());
  }
  return coded;
}

void check_device(const char* op, const Coding& coding, const Tensor& first) {
  const bool same = coding.tables.entries.empty() || (coding.entries.device() == first.device() &&
                                                      coding.table_of.device() == first.device());
  STD_TORCH_CHECK(same, "fmtc::", op, ": the tables must be on the device of the first argument");
}

// Fills the levels of images that were decoded as arrangements, and their status.
void restore_levels(const OnDevice& device, const Coding& coding, const Tensor& values,
                    const Tensor& positions, const cuda::Damage& damage, const Tensor& levels,
                    const Tensor& status) {
  const Layout layout = coding.header.layout();
  const int64_t images = values.size(0);
  const Tensor space = space_of(device, cuda::restore_space(images, layout));
  cuda::restore(device.stream(), values.const_data_ptr<int16_t>(),
                positions.const_data_ptr<int64_t>(), damage, images, layout,
                space.mutable_data_ptr<uint8_t>(), levels.mutable_data_ptr<int16_t>(),
                status.mutable_data_ptr<int32_t>());
}

}  // namespace

std::tuple<Tensor, Tensor> encode_on_device(const char* op, const Coding& coding,
                                            const Tensor& levels, int64_t buffer,
                                            const std::optional<Tensor>& maps) {
  check_device(op, coding, levels);
  const OnDevice device(op, levels);
  const int64_t images = levels.size(0);
  Tensor input = torch::stable::contiguous(levels);
  Tensor positions;
  if (maps.has_value()) {
    const Arranged arranged = arrange_on_device(op, device, input, *maps, coding.header.classes);
    input = arranged.values;
    positions = arranged.positions;
  }
  const cuda::Coded coded = coded_batch(coding, images, positions);
  const Tensor space = space_of(device, cuda::encode_space(coded));
  const Tensor bytes = device.empty({images, buffer}, ScalarType::Byte);
  const Tensor used = device.empty({images}, ScalarType::Long);
  cuda::encode_streams(device.stream(), coded, input.const_data_ptr<int16_t>(),
                       space.mutable_data_ptr<uint8_t>(), bytes.mutable_data_ptr<uint8_t>(), buffer,
                       used.mutable_data_ptr<int64_t>());
  device.check();
  return {bytes, used};
}

std::tuple<Tensor, Tensor> decode_on_device(const char* op, const Coding& coding,
                                            const Tensor& bytes, const Tensor& used) {
  check_device(op, coding, bytes);
  const OnDevice device(op, bytes, {{"used", used}});
  const StreamHeader& header = coding.header;
  const int64_t images = bytes.size(0);
  const bool arranged = header.classes > 1;
  const Tensor buffers = torch::stable::contiguous(bytes);
  const Tensor sizes = torch::stable::contiguous(used);
  const std::array<int64_t, 4> shape = {images, header.components, header.height, header.width};
  const Tensor levels = device.empty({shape.data(), shape.size()}, ScalarType::Short);
  const Tensor status = device.empty({images}, ScalarType::Int);
  Tensor values = levels, positions;
  if (arranged) {
    values = device.empty({images, static_cast<int64_t>(header.values())}, ScalarType::Short);
    positions = device.empty({images, header.classes}, ScalarType::Long);
  }
  const cuda::Coded coded = coded_batch(coding, images, positions);
  const Tensor space = space_of(device, cuda::decode_space(coded));
  const cuda::Damage damage =
      cuda::decode_streams(device.stream(), coded, buffers.const_data_ptr<uint8_t>(), bytes.size(1),
                           sizes.const_data_ptr<int64_t>(), space.mutable_data_ptr<uint8_t>(),
                           values.mutable_data_ptr<int16_t>());
  if (arranged) {
    restore_levels(device, coding, values, positions, damage, levels, status);
  } else {
    cuda::tell_status(device.stream(), coded, damage, levels.mutable_data_ptr<int16_t>(),
                      status.mutable_data_ptr<int32_t>());
  }
  device.check();
  return {levels, status};
}

}  // namespace fmtc::ops
