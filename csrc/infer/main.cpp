// fmtc_infer: a compressed network on images, without Python.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <c10/core/InferenceMode.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "codec/array.h"
#include "codec/file.h"
#include "codec/options.h"
#include "infer/dataset.h"
#include "infer/environment.h"
#include "infer/image.h"
#include "infer/package.h"
#include "infer/preprocess.h"
#include "infer/progress.h"
#include "infer/reference.h"
#ifdef FMTC_HAS_HTTPLIB
#include "infer/http_server.h"
#endif
#ifdef FMTC_HAS_CURL
#include "infer/split_run.h"
#endif
#include "infer/statistics.h"
#include "infer/timing.h"

namespace fmtc::infer {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

#ifdef FMTC_HAS_CURL
constexpr bool kCanSend = true;
#else
constexpr bool kCanSend = false;
#endif
#ifdef FMTC_HAS_HTTPLIB
constexpr bool kCanListen = true;
#else
constexpr bool kCanListen = false;
#endif

struct Options {
  std::string head, url, tail, host = "127.0.0.1";
  int64_t listen = -1, max_body = int64_t{1} << 24, max_images = 64, waiting = 32;
  std::string model, labels, device, json, reference;
  std::vector<std::string> paths;
  int64_t topk = 5, batch = 0, threads = 0, repeat = 1;
  int64_t max_pixels = kDefaultMaxPixels;
  uint64_t max_bytes = codec::kDefaultMaxBytes;
  bool plain = false;
};

double seconds_since(Clock::time_point began) {
  return std::chrono::duration<double>(Clock::now() - began).count();
}

std::string joined(const std::vector<std::string>& texts) {
  std::string text;
  for (const std::string& each : texts) text += (text.empty() ? "" : " ") + each;
  return text;
}

// The files themselves, and the images of folders and below, as fmtc_eval finds them.
std::vector<std::string> find_images(const std::vector<std::string>& paths) {
  std::vector<std::string> all;
  for (const std::string& path : paths) {
    if (!fs::is_directory(path)) {
      all.push_back(path);
      continue;
    }
    const std::vector<std::string> below = images_below(path);
    if (below.empty()) throw Error(path + ": there are no images in this folder, nor below");
    for (const std::string& name : below) all.push_back((fs::path(path) / name).string());
  }
  return all;
}

std::vector<std::string> read_lines(const std::string& path, uint64_t max_bytes) {
  const std::vector<uint8_t> bytes = codec::read_file(path, max_bytes);
  std::istringstream text(std::string(bytes.begin(), bytes.end()));
  std::vector<std::string> lines;
  for (std::string line; std::getline(text, line);) lines.push_back(line);
  return lines;
}

int64_t batch_size(const Options& options, const Package& package) {
  if (package.batch > 0 && options.batch > 0 && options.batch != package.batch) {
    throw Error(options.model + " takes batches of " + std::to_string(package.batch) +
                " images only; export it with dynamic_batch=True for others");
  }
  return std::max<int64_t>({1, options.batch, package.batch});
}

class Runner {
 public:
  Runner(const Options& options, Package& package)
      : options_(options),
        package_(package),
        preprocess_(package.preprocess, options.max_pixels),
        batch_(batch_size(options, package)),
        classes_(options.labels.empty() ? package.classes
                                        : read_lines(options.labels, options.max_bytes)),
        statistics_(package) {
    if (!options.reference.empty())
      reference_ = std::make_unique<Reference>(options.reference, options.max_bytes);
    if (options.plain) package.load_plain();
  }

  void run(const std::vector<std::string>& files) {
    std::vector<at::Tensor> inputs;
    std::vector<std::string> names;
    for (size_t i = 0; i < files.size(); ++i) {
      if (const at::Tensor x = load(files[i]); x.defined()) {
        names.push_back(files[i]);
        inputs.push_back(x);
      }
      const bool last = i + 1 == files.size();
      if (!inputs.empty() && (last || static_cast<int64_t>(inputs.size()) == batch_)) {
        run_batch(names, inputs);
        names.clear();
        inputs.clear();
      }
      progress_.show(i + 1, files.size());
    }
    progress_.clear();
    if (statistics_.images() == 0) throw Error("none of the images could be read");
  }

  const Statistics& statistics() const { return statistics_; }
  const Reference* reference() const { return reference_.get(); }

 private:
  // Undefined for an image that cannot be read.
  at::Tensor load(const std::string& path) {
    try {
      const at::Tensor x = preprocess_(to_tensor(read_image(
          path, preprocess_.decoded_channels(package_.input_shape.front()), options_.max_pixels)));
      if (x.sizes() != at::IntArrayRef(package_.input_shape)) {
        throw Error("it does not become an input of the shape " +
                    codec::shape_text(package_.input_shape) + " by the package's preprocessing");
      }
      return x;
    } catch (const std::exception& error) {
      progress_.clear();
      std::fprintf(stderr, "%s skipped: %s\n", path.c_str(),
                   codec::printable(error.what()).c_str());
      statistics_.skipped.push_back(path);
      return {};
    }
  }

  void run_batch(const std::vector<std::string>& names, std::vector<at::Tensor>& inputs) {
    const auto images = static_cast<int64_t>(inputs.size());
    // A package for batches of one size gets its last one filled up.
    if (package_.batch > 0) inputs.resize(static_cast<size_t>(batch_), inputs.back());
    const at::Tensor x = at::stack(inputs);
    for (int64_t repeat = 0; repeat < options_.repeat; ++repeat) {
      const Coded coded = run_compressed(x);
      std::vector<at::Tensor> plain;
      if (options_.plain) plain = run_plain(x);
      if (repeat > 0) continue;
      const at::Tensor output = coded.outputs[package_.shown].narrow(0, 0, images);
      const at::Tensor used = coded.used.narrow(0, 0, images);
      statistics_.seconds += statistics_.times.total.back() * static_cast<double>(x.size(0));
      statistics_.count(used);
      if (options_.plain) statistics_.compare(plain, coded.outputs, images);
      progress_.clear();
      print_top(names, output);
      if (reference_) reference_->add(names, output, used);
    }
  }

  Coded run_compressed(const at::Tensor& x) {
    const auto size = static_cast<double>(x.size(0));
    Times& times = statistics_.times;
    take_coder_seconds();
    const auto began = Clock::now();
    Coded coded = package_.run(x);
    const double total = seconds_since(began);
    times.total.push_back(total / size);
    const CoderSeconds coder = take_coder_seconds();
    if (package_.on_cpu()) {  // a GPU's operators return before they are done
      times.network.push_back((total - coder.encode - coder.decode) / size);
      times.encode.push_back(coder.encode / size);
      times.decode.push_back(coder.decode / size);
    }
    return coded;
  }

  std::vector<at::Tensor> run_plain(const at::Tensor& x) {
    const auto began = Clock::now();
    std::vector<at::Tensor> outputs = package_.run_plain(x);
    statistics_.times.plain.push_back(seconds_since(began) / static_cast<double>(x.size(0)));
    return outputs;
  }

  void print_top(const std::vector<std::string>& names, const at::Tensor& output) const {
    if (!is_classifier(output)) return;
    const int64_t k = std::min(options_.topk, output.size(1));
    const auto [share, index] = output.softmax(1).topk(k);
    for (int64_t n = 0; n < output.size(0); ++n) {
      std::printf("%s:", names[static_cast<size_t>(n)].c_str());
      for (int64_t i = 0; i < k; ++i) {
        const auto c = index[n][i].item<int64_t>();
        const bool named = c < static_cast<int64_t>(classes_.size());
        std::printf("%s %lld%s%s %.4f", i == 0 ? "" : ",", static_cast<long long>(c),
                    named ? " " : "", named ? classes_[static_cast<size_t>(c)].c_str() : "",
                    share[n][i].item<float>());
      }
      std::printf("\n");
    }
    std::fflush(stdout);
  }

  const Options& options_;
  Package& package_;
  Preprocess preprocess_;
  int64_t batch_;
  std::vector<std::string> classes_;
  Statistics statistics_;
  std::unique_ptr<Reference> reference_;
  Progress progress_;
};

void write_result(const std::string& path, const nlohmann::json& result) {
  // File names need not be UTF-8.
  std::fflush(stdout);  // which the path may be
  const std::string text = result.dump(1, ' ', false, nlohmann::json::error_handler_t::replace);
  codec::write_file(path, {reinterpret_cast<const uint8_t*>(text.data()), text.size()});
}

// The halves of a split network (fmtc.export of fmtc.split's parts), on two machines.
void add_split_options(CLI::App& app, Options& options) {
  app.add_option("--head", options.head, "Package of a head, head.pt2, instead of MODEL");
  app.add_option("--send", options.url, "URL of the service that has the tail");
  app.add_option("--tail", options.tail, "Package of a tail, tail.pt2, to be served");
  app.add_option("--listen", options.listen, "Port to serve it at (0: a free one)")
      ->check(codec::whole_number(0, 65535));
  app.add_option("--host", options.host, "Address to serve it at (127.0.0.1)");
  app.add_option("--max-body", options.max_body, "Bytes of a request (2^24)")
      ->check(codec::whole_number(1, codec::kMostSize));
  app.add_option("--max-images", options.max_images, "Images of a request (64)")
      ->check(codec::whole_number(1, kMaxBatch));
  app.add_option("--waiting", options.waiting, "Requests that may wait (32)")
      ->check(codec::whole_number(1, 1 << 10));
}

void check_together(const Options& options) {
  if (options.head.empty() != options.url.empty()) {
    throw Error("--head and --send belong together");
  }
  if (options.tail.empty() != (options.listen < 0)) {
    throw Error("--tail and --listen belong together");
  }
  if (!options.head.empty() && !options.tail.empty()) {
    throw Error("--head and --tail are for two processes");
  }
  if (!options.tail.empty() && !options.model.empty()) {
    throw Error("--tail takes no images: its service is sent them");
  }
  if (options.tail.empty() && options.model.empty()) {
    throw Error("name a package and images; --help says more");
  }
  if (options.head.empty() && options.tail.empty() && options.paths.empty()) {
    throw Error("name images, or folders of them, behind " + options.model);
  }
}

void send(const Options& options) {
  if (!kCanSend) {
    throw Error(
        "this fmtc_infer was built without libcurl, which --send needs (apt-get install "
        "libcurl4-openssl-dev, then build again)");
  }
#ifdef FMTC_HAS_CURL
  SendOptions what{options.head, options.url, options.device, options.json, {}, {}};
  std::vector<std::string> paths{options.model};
  paths.insert(paths.end(), options.paths.begin(), options.paths.end());
  what.files = find_images(paths);
  if (!options.labels.empty()) what.classes = read_lines(options.labels, options.max_bytes);
  what.topk = options.topk;
  what.batch = options.batch;
  what.max_pixels = options.max_pixels;
  run_send(what);
#endif
}

void listen(const Options& options) {
  if (!kCanListen) {
    throw Error(
        "this fmtc_infer was built without cpp-httplib, which --listen needs (apt-get "
        "install libcpp-httplib-dev, then build again)");
  }
#ifdef FMTC_HAS_HTTPLIB
  Tail tail(options.tail, options.device);
  ServeOptions limits{options.host, static_cast<int>(options.listen),
                      static_cast<uint64_t>(options.max_body), options.max_images, options.waiting};
  serve(tail, limits,
        [](const std::string& url) { std::fprintf(stderr, "fmtc_infer: %s\n", url.c_str()); });
  std::fprintf(stderr, "fmtc_infer: stopped\n");
#endif
}

int run(int argc, char** argv) {
  CLI::App app("A compressed network (fmtc.export) on images.");
  Options options;
  app.add_option("MODEL", options.model, "Package (.pt2)");
  app.add_option("PATH", options.paths, "JPEG and PNG files, or folders of them");
  app.add_option("--labels", options.labels, "Names of the classes, one a line");
  app.add_option("--topk", options.topk, "Classes to print (5)")
      ->check(codec::whole_number(1, 1 << 20));
  app.add_option("--batch", options.batch, "Images run at a time (1, or as the package says)")
      ->check(codec::whole_number(1, kMaxBatch));
  app.add_option("--threads", options.threads, "Threads (all)")
      ->check(codec::whole_number(1, 1 << 10));
  app.add_option("--device", options.device, "cpu or cuda, which the package must be for")
      ->check(CLI::IsMember({"cpu", "cuda"}));
  app.add_option("--json", options.json, "Write rates and times, of the schema fmtc.result/3");
  app.add_option("--check", options.reference,
                 "Compare with what Python wrote (fmtc.export_reference); fails if it differs");
  app.add_option("--repeat", options.repeat, "Runs of each batch, for the times (1)")
      ->check(codec::whole_number(1, 1 << 20));
  app.add_option("--max-pixels", options.max_pixels, "Of an image, at most (178956970)")
      ->check(codec::whole_number(1, int64_t{1} << 40));
  app.add_option("--max-bytes", options.max_bytes, "Of the files of --check and --labels (2^32)")
      ->check(codec::whole_number(1, codec::kMostSize));
  app.add_flag("--plain", options.plain, "Run the uncompressed network, too, and compare");
  add_split_options(app, options);
  if (const auto status = codec::parsed(app, argc, argv)) return *status;
  check_together(options);

  keep_freed_memory();
  const c10::InferenceMode inference;
  if (options.threads > 0) at::set_num_threads(static_cast<int>(options.threads));
  if (app.count("--json") > 0) codec::require_writable(options.json);
  if (!options.tail.empty()) {
    listen(options);
    return 0;
  }
  if (!options.head.empty()) {
    send(options);
    return 0;
  }
  const std::vector<std::string> files = find_images(options.paths);
  Package package(options.model, options.device);
  Runner runner(options, package);
  watch_coder();
  runner.run(files);
  runner.statistics().print();
  if (!options.json.empty()) {
    const std::string command = joined({argv, argv + argc});
    write_result(options.json, runner.statistics().result(command, joined(options.paths)));
  }
  if (runner.reference() != nullptr) runner.reference()->conclude();
  return 0;
}

}  // namespace
}  // namespace fmtc::infer

int main(int argc, char** argv) {
  try {
    const int result = fmtc::infer::run(argc, argv);
    fmtc::codec::check_printed();
    return result;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "fmtc_infer: %s\n", fmtc::codec::printable(error.what()).c_str());
    return fmtc::codec::kFailed;
  }
}
