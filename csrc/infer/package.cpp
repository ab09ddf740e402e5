#include "infer/package.h"

#include <ATen/ATen.h>
#include <ATen/Context.h>
#include <c10/util/Exception.h>
#include <torch/headeronly/version.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <string_view>
#include <unordered_map>

#include "codec/json.h"
#include "core/status.h"
#include "infer/image.h"

namespace fmtc::infer {
namespace {

using nlohmann::json;

constexpr const char* kSchema = "fmtc.package/2";
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

std::vector<at::Tensor> to_cpu(std::vector<at::Tensor> tensors, size_t count) {
  tensors.resize(count);
  for (at::Tensor& tensor : tensors) tensor = tensor.cpu();
  return tensors;
}

void check_status(const at::Tensor& status, const std::vector<CodingPoint>& points) {
  const at::Tensor wrong = status.nonzero();
  if (wrong.size(0) == 0) return;
  const int64_t n = wrong[0][0].item<int64_t>(), i = wrong[0][1].item<int64_t>();
  throw Error("the stream of " + points[static_cast<size_t>(i)].name +
              " does not decode: " + message(static_cast<Status>(status[n][i].item<int32_t>())));
}

// The packages that there are, by the models that they hold.
struct Kind {
  const char* model;
  const char* what;
  const char* use;
};
constexpr std::array kKinds = {
    Kind{kCompressed, "a compressed network", "give it to fmtc_infer as MODEL, or to fmtc_eval"},
    Kind{kPlain, "a plain network", "give a compressed one, which is read together with it"},
    Kind{"head", "the head of a split network", "give it to fmtc_infer with --head"},
    Kind{"tail", "the tail of a split network", "give it to fmtc_infer with --tail"},
};

bool holds(const std::string& path, const char* model) {
  try {
    torch::inductor::AOTIModelPackageLoader::load_metadata_from_package(path, model);
    return true;
  } catch (const std::exception&) {  // of torch, for no package as for one without this model
    return false;
  }
}

// Error for a package of another kind than that of `model`, with what it is for.
void refuse_other_kinds(const std::string& path, const char* model) {
  const auto wanted = std::ranges::find(kKinds, std::string_view(model), &Kind::model);
  for (const Kind& kind : kKinds) {
    if (!holds(path, kind.model)) continue;
    throw Error(path + " is " + kind.what + ", not " + wanted->what + ": " + kind.use);
  }
}

std::unordered_map<std::string, std::string> load_metadata(const std::string& path,
                                                           const char* model) {
  try {
    return with_short_errors(path + " is no package", [&] {
      return torch::inductor::AOTIModelPackageLoader::load_metadata_from_package(path, model);
    });
  } catch (const Error&) {
    refuse_other_kinds(path, model);
    throw;
  }
}

}  // namespace

json read_metadata(const std::string& path, const char* model, const char* expected) {
  if (!std::filesystem::is_regular_file(path)) throw Error(path + " is no file");
  const auto all = load_metadata(path, model);
  const auto found = all.find("fmtc");
  if (found == all.end()) throw Error(path + " is a package, but not one that fmtc exported");
  json metadata = codec::parse_json(found->second, (path + " has damaged metadata").c_str());
  const std::string schema = metadata.value("schema", "");
  if (schema != expected) {
    throw Error(path + " has the schema '" + schema + "'; this reads " + expected);
  }
  return metadata;
}

void check_device(const std::string& path, const std::string& has, const std::string& wanted) {
  if (has != "cpu" && has != "cuda") throw Error(path + " is for an unknown device, '" + has + "'");
  if (!wanted.empty() && wanted != has) {
    throw Error(path + " was compiled for the device '" + has + "', not '" + wanted +
                "'; export it with an example on that one");
  }
  if (has == "cuda" && !at::hasCUDA()) {
    throw Error(path + " was compiled for CUDA, and there is no GPU or a torch without CUDA");
  }
}

// The file's compiled code is loaded by torch, and reports errors by exceptions as well.
CompiledNetwork::CompiledNetwork(const std::string& path, const char* model,
                                 const NetworkDescription& has)
    : path_(path), device_(has.device) {
  try {
    loader_ = with_short_errors(path + " cannot be loaded", [&] {
      return std::make_unique<torch::inductor::AOTIModelPackageLoader>(path, model);
    });
  } catch (const Error& error) {
    throw Error(std::string(error.what()) + " (it was compiled by torch " + has.torch +
                ", this is " + TORCH_VERSION + ")");
  }
}

std::vector<at::Tensor> CompiledNetwork::run(std::vector<at::Tensor> inputs) {
  for (at::Tensor& input : inputs) input = input.to(device_);
  return with_short_errors("the network of " + path_ + " failed",
                           [&] { return loader_->run(inputs); });
}

Package::Package(const std::string& path, const std::string& device)
    : Description(read_metadata(path, kCompressed, kSchema), path), path_(path) {
  check_device(path, this->device, device);
  compressed_ = std::make_unique<CompiledNetwork>(path, kCompressed, *this);
}

Coded Package::run(const at::Tensor& x) {
  const std::vector<at::Tensor> results = compressed_->run({x});
  size_t histograms = 0;
  for (const LayerRates& layer : rates) histograms += layer.coded() ? 1 : 0;
  if (results.size() != outputs + 2 + (counts() ? 1 + histograms : 0)) {
    throw Error(path_ + " has not the outputs that it names");
  }
  const at::Tensor used = results[outputs].cpu(), status = results[outputs + 1].cpu();
  if (used.size(1) != static_cast<int64_t>(points.size())) {
    throw Error(path_ + " has not the coding points that it names");
  }
  check_status(status, points);
  Coded coded{to_cpu(results, outputs), used, {}};
  if (counts()) coded.counts = counted(results);
  return coded;
}

std::vector<LayerCounts> Package::counted(const std::vector<at::Tensor>& results) const {
  const at::Tensor bytes = results[outputs].cpu().sum(0), clamped = results[outputs + 2].cpu();
  size_t next = outputs + 3;
  std::vector<LayerCounts> counted;
  for (size_t i = 0; i < points.size(); ++i) {
    const auto at = static_cast<int64_t>(i);
    const at::Tensor histogram =
        rates[i].coded() ? results[next++].cpu().contiguous() : at::Tensor();
    counted.push_back({histogram, clamped[at].item<int64_t>(), bytes[at].item<int64_t>()});
  }
  return counted;
}

void Package::load_plain() {
  if (plain.empty()) {
    plain_ = std::make_unique<CompiledNetwork>(path_, kPlain, *this);
    return;
  }
  // A package may come from anywhere: it names a file of its own folder, nothing else.
  const std::filesystem::path file =
      std::filesystem::path(path_).parent_path() / std::filesystem::path(plain).filename();
  if (!std::filesystem::is_regular_file(file)) {
    throw Error(path_ + " needs the plain network, " + file.string() + ", which is not there");
  }
  const NetworkDescription other(read_metadata(file, kPlain, kSchema), file);
  if (other.network != network || other.input_shape != input_shape || other.device != device ||
      other.outputs != outputs) {
    throw Error(file.string() + " is not the plain network of " + path_ + "; export both again");
  }
  plain_ = std::make_unique<CompiledNetwork>(file, kPlain, other);
}

std::vector<at::Tensor> Package::run_plain(const at::Tensor& x) {
  if (!plain_) load_plain();
  const std::vector<at::Tensor> results = plain_->run({x});
  if (results.size() != outputs) throw Error(path_ + " has a plain network with other outputs");
  return to_cpu(results, outputs);
}

}  // namespace fmtc::infer
