#include "ops/cuda/streams.h"

#include <array>

#include "ops/cuda/device.h"
#include "cuda/streams.h"

namespace fmtc::ops {
namespace {

// The batch for the kernels. Every tensor that it refers to must outlive it.
cuda::Coded coded_batch(const Coding& coding, int64_t images, const Tensor& positions) {
  const bool classes = coding.header.classes > 1;
  return {coding.header, coding.tables, images,
          classes ? reinterpret_cast<uint64_t*>(positions.mutable_data_ptr<int64_t>()) : nullptr};
}

Tensor space_of(const OnDevice& device, size_t bytes) {
  return device.empty({static_cast<int64_t>(bytes)}, ScalarType::Byte);
}

void check_device(const char* op, const Coding& coding, const Tensor& levels) {
  const torch::stable::Device device = levels.device();
  const bool same = coding.tables.entries.empty() ||
                    (coding.entries.device() == device && coding.table_of.device() == device);
  STD_TORCH_CHECK(same, "fmtc::", op, ": the tables must be on the device of the first argument");
}

}  // namespace

std::tuple<Tensor, Tensor> encode_on_device(const char* op, const Coding& coding,
                                            const Tensor& levels, int64_t buffer,
                                            const std::optional<Tensor>& maps) {
  check_device(op, coding, levels);
  const OnDevice device(op, levels);
  const int64_t images = levels.size(0);
  const Tensor input = torch::stable::contiguous(levels);
  const Tensor positions = device.empty({images, kMaxPositionClasses}, ScalarType::Long);
  STD_TORCH_CHECK(!maps.has_value(), "fmtc::", op, ": classes are not there yet");
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
  const Tensor buffers = torch::stable::contiguous(bytes);
  const Tensor sizes = torch::stable::contiguous(used);
  const Tensor positions = device.empty({images, kMaxPositionClasses}, ScalarType::Long);
  const std::array<int64_t, 4> shape = {images, header.components, header.height, header.width};
  const Tensor levels = device.empty({shape.data(), shape.size()}, ScalarType::Short);
  const Tensor status = device.empty({images}, ScalarType::Int);
  const cuda::Coded coded = coded_batch(coding, images, positions);
  const Tensor space = space_of(device, cuda::decode_space(coded));
  cuda::decode_streams(device.stream(), coded, buffers.const_data_ptr<uint8_t>(), bytes.size(1),
                       sizes.const_data_ptr<int64_t>(), space.mutable_data_ptr<uint8_t>(),
                       levels.mutable_data_ptr<int16_t>(), status.mutable_data_ptr<int32_t>());
  cuda::clear_damaged(device.stream(), status.const_data_ptr<int32_t>(), images,
                      static_cast<int64_t>(header.layout().levels()),
                      levels.mutable_data_ptr<int16_t>());
  device.check();
  return {levels, status};
}

}  // namespace fmtc::ops
