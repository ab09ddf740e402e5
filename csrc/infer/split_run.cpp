#include "infer/split_run.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>

#include "codec/array.h"
#include "codec/error.h"
#include "codec/file.h"
#include "infer/http_client.h"
#include "infer/preprocess.h"
#include "infer/split_package.h"

namespace fmtc::infer {
namespace {

using nlohmann::json;
using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point began) {
  return std::chrono::duration<double>(Clock::now() - began).count();
}

class Sender {
 public:
  explicit Sender(const SendOptions& options)
      : options_(options),
        head_(options.head, options.device),
        of_(head_.description()),
        preprocess_(of_.preprocess, options.max_pixels),
        client_(options.url, options.seconds),
        classes_(options.classes.empty() ? of_.classes : options.classes) {
    check_same();
  }

  void run() {
    const int64_t batch = std::max<int64_t>({1, options_.batch, of_.batch});
    std::vector<std::string> names;
    std::vector<at::Tensor> inputs;
    for (const std::string& file : options_.files) {
      if (const at::Tensor x = load(file); x.defined()) {
        names.push_back(file);
        inputs.push_back(x);
      }
      if (static_cast<int64_t>(inputs.size()) == batch) send(names, inputs);
    }
    if (!inputs.empty()) send(names, inputs);
    const size_t count = images_.size();
    if (count == 0) throw Error("none of the images could be read");
    const double each = 1.0 / static_cast<double>(count);
    std::printf("%zu images, %.2f KiB each, head %.1f ms, answer %.1f ms\n", count,
                static_cast<double>(bytes_) * each / 1024, 1000 * head_seconds_ * each,
                1000 * answer_seconds_ * each);
    if (!options_.json.empty()) write();
  }

 private:
  void check_same() {
    const json served = client_.health();
    json at = json::array();
    for (const auto& tensor : of_.tensors) at.push_back(tensor.name);
    if (served.value("network", "") != of_.network) {
      throw Error(options_.url + " serves a network with other weights than " + options_.head);
    }
    if (!served.contains("at") || served.at("at") != at) {
      throw Error(options_.url + " serves another cut than that of " + options_.head);
    }
  }

  at::Tensor load(const std::string& path) {
    try {
      const at::Tensor x = preprocess_(to_tensor(read_image(
          path, preprocess_.decoded_channels(of_.input_shape.front()), options_.max_pixels)));
      if (x.sizes() == at::IntArrayRef(of_.input_shape)) return x;
      throw Error("it does not become an input of the shape " + codec::shape_text(of_.input_shape) +
                  " by the package's preprocessing");
    } catch (const std::exception& error) {
      std::fprintf(stderr, "%s skipped: %s\n", path.c_str(),
                   codec::printable(error.what()).c_str());
      skipped_.push_back(path);
      return {};
    }
  }

  void send(std::vector<std::string>& names, std::vector<at::Tensor>& inputs) {
    const size_t images = inputs.size();
    // A package for batches of one size gets its last one filled up.
    if (of_.batch > 0) inputs.resize(static_cast<size_t>(of_.batch), inputs.back());
    const auto began = Clock::now();
    const std::vector<uint8_t> bundle = head_.run(at::stack(inputs));
    head_seconds_ += seconds_since(began);
    const auto asked = Clock::now();
    const json answer = client_.infer(bundle);
    answer_seconds_ += seconds_since(asked);
    bytes_ += bundle.size();
    tell(names, images, bundle.size() / inputs.size(), answer);
    names.clear();
    inputs.clear();
  }

  void tell(const std::vector<std::string>& names, size_t images, size_t bytes,
            const json& answer) {
    at::Tensor shares;
    try {
      if (const auto shown = of_.shown()) {
        const json& output = answer.at("outputs").at(of_.named_outputs[*shown].name);
        const auto rows = output.at("values").get<std::vector<std::vector<json>>>();
        std::vector<float> values;
        for (const auto& row : rows) {
          for (const json& v : row) values.push_back(v.is_null() ? NAN : v.get<float>());
        }
        const auto shape = output.at("shape").get<std::vector<int64_t>>();
        if (shape.size() != 2 || shape[0] < static_cast<int64_t>(images)) {
          throw Error("another shape");
        }
        shares = at::tensor(values).reshape(shape).softmax(1);
      }
    } catch (const std::exception&) {
      throw Error(options_.url + ": the answer has not the outputs of " + options_.head);
    }
    for (size_t n = 0; n < images; ++n) {
      images_.push_back({{"file", names[n]}, {"bytes", bytes}, {"top", json::array()}});
      std::printf("%s:", names[n].c_str());
      if (shares.defined()) {
        print_top(shares[static_cast<int64_t>(n)]);
      } else {
        std::printf(" %zu bytes", bytes);
      }
      std::printf("\n");
    }
    std::fflush(stdout);
  }

  void print_top(const at::Tensor& shares) {
    const auto [share, index] = shares.topk(std::min(options_.topk, shares.size(0)));
    for (int64_t i = 0; i < index.size(0); ++i) {
      const auto c = index[i].item<int64_t>();
      const bool named = c < static_cast<int64_t>(classes_.size());
      std::printf("%s %lld%s%s %.4f", i == 0 ? "" : ",", static_cast<long long>(c),
                  named ? " " : "", named ? classes_[static_cast<size_t>(c)].c_str() : "",
                  share[i].item<float>());
      images_.back()["top"].push_back({{"class", c}, {"share", share[i].item<float>()}});
    }
  }

  void write() const {
    const json document = {{"url", options_.url},
                           {"parts", options_.head},
                           {"images", images_},
                           {"skipped", skipped_},
                           {"seconds", {{"head", head_seconds_}, {"answer", answer_seconds_}}}};
    std::fflush(stdout);  // which the path may be
    const std::string text = document.dump(1, ' ', false, json::error_handler_t::replace);
    codec::write_file(options_.json, {reinterpret_cast<const uint8_t*>(text.data()), text.size()});
  }

  const SendOptions& options_;
  Head head_;
  const SplitDescription& of_;
  Preprocess preprocess_;
  HttpClient client_;
  std::vector<std::string> classes_, skipped_;
  std::vector<json> images_;
  size_t bytes_ = 0;
  double head_seconds_ = 0, answer_seconds_ = 0;
};

}  // namespace

void run_send(const SendOptions& options) { Sender(options).run(); }

}  // namespace fmtc::infer
