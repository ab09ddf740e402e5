#include "infer/package.h"

#include <ATen/ATen.h>
#include <ATen/Context.h>
#include <c10/util/Exception.h>
#include <torch/headeronly/version.h>

#include <algorithm>
#include <filesystem>
#include <numeric>

#include "codec/array.h"
#include "codec/json.h"
#include "core/status.h"
#include "infer/image.h"

namespace fmtc::infer {
namespace {

using nlohmann::json;

constexpr const char* kSchema = "fmtc.package/1";
constexpr const char* kCompressed = "compressed";
constexpr const char* kPlain = "plain";

// Runs what calls torch; its errors say where they come from in many lines, of which the first is
// enough.
template <typename F>
auto with_short_errors(const std::string& what, F f) {
  try {
    return f();
  } catch (const c10::Error& error) {
    const std::string text = error.what_without_backtrace();
    throw Error(what + ": " + text.substr(0, text.find('\n')));
  } catch (const std::runtime_error& error) {
    const std::string text = error.what();
    throw Error(what + ": " + text.substr(0, text.find('\n')));
  }
}

json read_metadata(const std::string& path) {
  const auto all = with_short_errors(path + " is no package", [&] {
    return torch::inductor::AOTIModelPackageLoader::load_metadata_from_package(path, kCompressed);
  });
  const auto found = all.find("fmtc");
  if (found == all.end()) throw Error(path + " is a package, but not one that fmtc exported");
  const json metadata = codec::parse_json(found->second, (path + " has damaged metadata").c_str());
  const std::string schema = metadata.value("schema", "");
  if (schema != kSchema) {
    throw Error(path + " has the schema '" + schema + "'; this version reads " + kSchema);
  }
  return metadata;
}

at::Device choose_device(const std::string& path, const std::string& has,
                         const std::string& wanted) {
  if (has != "cpu" && has != "cuda") throw Error(path + " is for an unknown device, '" + has + "'");
  if (!wanted.empty() && wanted != has) {
    throw Error(path + " was compiled for the device '" + has + "', not '" + wanted +
                "'; export it with an example on that one");
  }
  if (has == "cuda" && !at::hasCUDA()) {
    throw Error(path + " was compiled for CUDA, and there is no GPU or a torch without CUDA");
  }
  return at::Device(has);
}

std::vector<CodingPoint> coding_points(const json& layers) {
  std::vector<CodingPoint> points;
  for (const json& layer : layers) {
    const auto shape = layer.at("shape").get<std::vector<int64_t>>();
    points.push_back(
        {layer.at("name"), static_cast<int64_t>(codec::value_count(shape)), layer.at("reads")});
  }
  return points;
}

std::vector<MeasuredOutput> measured_outputs(const json& metadata) {
  std::vector<MeasuredOutput> measured;
  for (const json& output : metadata) {
    const json& mean = output.at("mean");
    const at::Tensor tensor =
        mean.is_null() ? at::Tensor()
                       : at::tensor(mean.at("values").get<std::vector<double>>(), at::kDouble)
                             .reshape(mean.at("shape").get<std::vector<int64_t>>());
    measured.push_back({output.at("name"), output.at("index"), tensor});
  }
  return measured;
}

std::vector<at::Tensor> to_cpu(std::vector<at::Tensor> tensors, size_t count) {
  tensors.resize(count);
  for (at::Tensor& tensor : tensors) tensor = tensor.cpu();
  return tensors;
}

// The file's compiled code is loaded by torch, and reports errors by exceptions as well.
auto load(const std::string& path, const char* model) {
  return with_short_errors(path + " cannot be loaded", [&] {
    return std::make_unique<torch::inductor::AOTIModelPackageLoader>(path, model);
  });
}

}  // namespace

Package::Package(const std::string& path, const std::string& device) : path_(path) {
  if (!std::filesystem::is_regular_file(path)) throw Error(path + " is no file");
  std::string torch;
  bool sizes = false;
  try {
    const json metadata = read_metadata(path);
    device_ = choose_device(path, metadata.at("device"), device);
    torch = metadata.at("torch");
    model = metadata.at("model");
    preprocess = metadata.at("preprocess").is_null() ? "" : metadata.at("preprocess");
    input_shape = metadata.at("input_shape").get<std::vector<int64_t>>();
    if (!metadata.at("batch").is_null()) batch = metadata.at("batch");
    if (!metadata.at("classes").is_null()) {
      classes = metadata.at("classes").get<std::vector<std::string>>();
    }
    sizes = !input_shape.empty() && codec::value_count(input_shape) > 0 && batch >= 0 &&
            batch <= kMaxBatch;
    outputs_ = metadata.at("outputs").size();
    calibration_images = metadata.at("calibration_images");
    write_joules_per_bit = metadata.at("joules_per_bit").at("write");
    read_joules_per_bit = metadata.at("joules_per_bit").at("read");
    point = metadata.at("point");
    points = coding_points(point.at("layers"));
    measured = measured_outputs(metadata.value("measured", json::array()));
    shown = metadata.value("shown", size_t{0});
  } catch (const json::exception& error) {
    throw Error(path + " has damaged metadata: " + error.what());
  } catch (const codec::Error& error) {
    throw Error(path + " has damaged metadata: " + error.what());
  }
  const bool unknown = std::any_of(measured.begin(), measured.end(),
                                   [&](const auto& output) { return output.index >= outputs_; });
  if (outputs_ == 0 || !sizes || points.empty() || unknown || shown >= outputs_) {
    throw Error(path + " has damaged metadata");
  }
  try {
    compressed_ = load(path, kCompressed);
  } catch (const Error& error) {
    throw Error(std::string(error.what()) + " (it was compiled by torch " + torch + ", this is " +
                TORCH_VERSION + ")");
  }
}

int64_t Package::values() const {
  return std::accumulate(points.begin(), points.end(), int64_t{0},
                         [](int64_t sum, const CodingPoint& point) { return sum + point.values; });
}

Coded Package::run(const at::Tensor& x) {
  const std::vector<at::Tensor> results =
      with_short_errors("the network failed", [&] { return compressed_->run({x.to(device_)}); });
  if (results.size() != outputs_ + 2) throw Error(path_ + " has not the outputs that it names");
  const at::Tensor used = results[outputs_].cpu(), status = results[outputs_ + 1].cpu();
  if (used.size(1) != static_cast<int64_t>(points.size())) {
    throw Error(path_ + " has not the coding points that it names");
  }
  const at::Tensor wrong = status.nonzero();
  if (wrong.size(0) > 0) {
    const int64_t n = wrong[0][0].item<int64_t>(), i = wrong[0][1].item<int64_t>();
    throw Error("the stream of " + points[static_cast<size_t>(i)].name +
                " does not decode: " + message(static_cast<Status>(status[n][i].item<int32_t>())));
  }
  return {to_cpu(results, outputs_), used};
}

void Package::load_plain() { plain_ = load(path_, kPlain); }

std::vector<at::Tensor> Package::run_plain(const at::Tensor& x) {
  if (!plain_) load_plain();
  const std::vector<at::Tensor> results =
      with_short_errors("the plain network failed", [&] { return plain_->run({x.to(device_)}); });
  if (results.size() != outputs_) throw Error(path_ + " has a plain network with other outputs");
  return to_cpu(results, outputs_);
}

}  // namespace fmtc::infer
