#include "infer/split_package.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cstring>
#include <string_view>

#include "codec/array.h"
#include "codec/error.h"
#include "core/bundle.h"

namespace fmtc::infer {
namespace {

using nlohmann::json;
using Why = Unusable::Why;

constexpr const char* kSchema = "fmtc.split-package/1";

SplitDescription described(const std::string& path, const char* part, const std::string& device) {
  SplitDescription description(read_metadata(path, part, kSchema), path);
  check_device(path, description.device, device);
  return description;
}

void require_good(Status status) {
  if (status != Status::kOk) throw Error(std::string("bundle: ") + bundle_message(status));
}

// Rows of bytes on the CPU, [N, bound], and how many of each count.
struct Streams {
  at::Tensor bytes, used;

  std::span<const uint8_t> row(int64_t image) const {
    return {bytes.const_data_ptr<uint8_t>() + image * bytes.size(1),
            static_cast<size_t>(used.const_data_ptr<int64_t>()[image])};
  }
};

BundleHeader opened(std::span<const uint8_t> bundle) {
  BundleHeader header;
  const Status status = open_bundle(bundle, header);
  if (status != Status::kOk) throw Unusable(Why::kDamaged, bundle_message(status));
  return header;
}

void check_names(const SplitDescription& description, const BundleHeader& header,
                 std::span<const uint8_t> bundle) {
  std::string has, takes;
  for (uint32_t t = 0; t < header.tensors; ++t) {
    has += (t > 0 ? ", " : "") + std::string(bundle_name(header, bundle, t));
  }
  for (const auto& tensor : description.tensors) {
    takes += (takes.empty() ? "" : ", ") + tensor.name;
  }
  if (has != takes) {
    throw Unusable(Why::kForeign,
                   "the bundle holds " + codec::printable(has) + ", and this tail takes " + takes);
  }
}

// Of each stream where it is; all checksums are right, and none is longer than the tail's head
// makes them.
std::vector<BundleStream> checked_streams(const SplitDescription& description,
                                          const BundleHeader& header,
                                          std::span<const uint8_t> bundle) {
  std::vector<BundleStream> streams(static_cast<size_t>(header.streams()));
  list_streams(header, bundle, streams);
  for (const BundleStream& stream : streams) {
    const Status status = check_stream(bundle.subspan(stream.begin, stream.size), stream);
    if (status != Status::kOk) throw Unusable(Why::kDamaged, bundle_message(status));
  }
  check_names(description, header, bundle);
  for (size_t i = 0; i < streams.size(); ++i) {
    const auto& tensor = description.tensors[i % header.tensors];
    if (static_cast<int64_t>(streams[i].size) > tensor.bound) {
      throw Unusable(Why::kForeign,
                     tensor.name + ": a stream is longer than any of this tail's head");
    }
  }
  return streams;
}

// What the compiled tail takes: bytes and used of each tensor.
std::vector<at::Tensor> inputs_of(const SplitDescription& description, const BundleHeader& header,
                                  std::span<const uint8_t> bundle,
                                  std::span<const BundleStream> streams, int64_t rows) {
  std::vector<at::Tensor> inputs;
  for (size_t t = 0; t < description.tensors.size(); ++t) {
    const at::Tensor bytes = at::zeros({rows, description.tensors[t].bound}, at::kByte);
    const at::Tensor used = at::zeros({rows}, at::kLong);
    for (int64_t n = 0; n < rows; ++n) {  // a batch that is filled up has its last image again
      const auto image = static_cast<size_t>(std::min<int64_t>(n, header.images - 1));
      const BundleStream& stream = streams[image * header.tensors + t];
      std::memcpy(bytes.mutable_data_ptr<uint8_t>() + n * bytes.size(1),
                  bundle.data() + stream.begin, stream.size);
      used.mutable_data_ptr<int64_t>()[n] = stream.size;
    }
    inputs.push_back(bytes);
    inputs.push_back(used);
  }
  return inputs;
}

void check_decoded(const SplitDescription& description, const at::Tensor& status) {
  const at::Tensor wrong = status.nonzero();
  if (wrong.size(0) == 0) return;
  const auto n = wrong[0][0].item<int64_t>(), t = wrong[0][1].item<int64_t>();
  throw Unusable(Why::kForeign, description.tensors[static_cast<size_t>(t)].name +
                                    ": stream of image " + std::to_string(n) + ": " +
                                    message(static_cast<Status>(status[n][t].item<int32_t>())));
}

std::vector<int64_t> with_images(int64_t images, const std::vector<int64_t>& shape) {
  std::vector<int64_t> whole{images};
  whole.insert(whole.end(), shape.begin(), shape.end());
  return whole;
}

}  // namespace

SplitDescription::SplitDescription(const json& metadata, const std::string& where)
    : NetworkDescription(metadata, where) {
  try {
    for (const json& tensor : metadata.at("tensors")) {
      tensors.push_back({tensor.at("name"), tensor.at("bound")});
    }
    for (const json& output : metadata.at("outputs")) {
      named_outputs.push_back({output.at("name"), output.at("shape")});
    }
    if (!metadata.at("preprocess").is_null()) preprocess = metadata.at("preprocess");
    if (!metadata.at("classes").is_null()) {
      classes = metadata.at("classes").get<std::vector<std::string>>();
    }
  } catch (const std::exception& error) {
    throw Error(where + " has damaged metadata: " + error.what());
  }
  if (tensors.empty()) throw Error(where + " has damaged metadata: nothing crosses");
}

std::optional<size_t> SplitDescription::shown() const {
  for (size_t i = 0; i < named_outputs.size(); ++i) {
    const std::vector<int64_t>& shape = named_outputs[i].shape;
    if (shape.size() == 1 && shape.front() > 1) return i;
  }
  return std::nullopt;
}

Head::Head(const std::string& path, const std::string& device)
    : description_(described(path, "head", device)), network_(path, "head", description_) {}

std::vector<uint8_t> Head::run(const at::Tensor& x) {
  const std::vector<at::Tensor> results = network_.run({x});
  if (results.size() != 2 * description_.tensors.size()) {
    throw Error("the head has not the tensors that it names");
  }
  std::vector<std::string_view> names;
  std::vector<Streams> made;
  for (size_t t = 0; t < description_.tensors.size(); ++t) {
    names.emplace_back(description_.tensors[t].name);
    made.push_back({results[2 * t].cpu().contiguous(), results[2 * t + 1].cpu().contiguous()});
  }
  std::vector<std::span<const uint8_t>> streams;
  for (int64_t n = 0; n < x.size(0); ++n) {
    for (const Streams& of : made) streams.push_back(of.row(n));
  }
  uint64_t size = 0;
  require_good(bundle_size(names, streams, size));
  std::vector<uint8_t> bundle(size);
  size_t used = 0;
  require_good(write_bundle(names, streams, bundle, used));
  return bundle;
}

Tail::Tail(const std::string& path, const std::string& device)
    : description_(described(path, "tail", device)), network_(path, "tail", description_) {}

std::vector<at::Tensor> Tail::run(std::span<const uint8_t> bundle, int64_t max_images) {
  const BundleHeader header = opened(bundle);
  const auto images = static_cast<int64_t>(header.images);
  const int64_t most =
      description_.batch > 0 ? std::min(description_.batch, max_images) : max_images;
  if (images > most) {
    throw Unusable(Why::kTooMany, std::to_string(images) + " images, and " + std::to_string(most) +
                                      " are taken at a time: send them in parts");
  }
  const std::vector<BundleStream> streams = checked_streams(description_, header, bundle);
  std::vector<at::Tensor> outputs;
  if (images == 0) {
    for (const auto& output : description_.named_outputs) {
      outputs.push_back(at::empty(with_images(0, output.shape)));
    }
    return outputs;
  }
  const int64_t rows = description_.batch > 0 ? description_.batch : images;
  std::vector<at::Tensor> results =
      network_.run(inputs_of(description_, header, bundle, streams, rows));
  if (results.size() != description_.named_outputs.size() + 1) {
    throw Error("the tail has not the outputs that it names");
  }
  check_decoded(description_, results.back().cpu());
  results.pop_back();
  for (const at::Tensor& result : results) {
    outputs.push_back(result.narrow(0, 0, images).to(at::kCPU, at::kFloat).contiguous());
  }
  return outputs;
}

}  // namespace fmtc::infer
