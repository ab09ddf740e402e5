// fmtc_infer: a compressed network on images, without Python.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <c10/core/InferenceMode.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include "infer/image.h"
#include "infer/package.h"
#include "infer/preprocess.h"
#include "infer/timing.h"

namespace fmtc::infer {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

// Energy of memory accesses, fmtc/energy.py.
constexpr double kWriteWatts = 0.180 * 1.5;
constexpr double kReadWatts = 0.220 * 1.5;
constexpr double kSecondsABit = 4 / 1066e6 / 16;
constexpr double kMostDecibels = 200;  // of an SNR

struct Options {
  std::string model, labels;
  std::vector<std::string> paths;
  int64_t topk = 5, batch = 1, threads = 0, repeat = 1;
  bool plain = false;
};

struct Statistics {
  int64_t images = 0, skipped = 0;
  int64_t written_bytes = 0, read_bytes = 0;
  std::vector<double> total, encode, decode, plain;  // seconds an image, of each batch
  int64_t agreeing = 0;
  double snr_db = 0;  // sum over images
};

double seconds_since(Clock::time_point began) {
  return std::chrono::duration<double>(Clock::now() - began).count();
}

// The files themselves, and all of folders whose names end as those of images do; sorted.
std::vector<fs::path> find_images(const std::vector<std::string>& paths) {
  std::vector<fs::path> files;
  for (const fs::path path : paths) {
    if (!fs::is_directory(path)) {
      files.push_back(path);
      continue;
    }
    const auto first = static_cast<ptrdiff_t>(files.size());
    for (const auto& entry : fs::recursive_directory_iterator(path)) {
      std::string kind = entry.path().extension().string();
      std::ranges::transform(kind, kind.begin(), [](unsigned char c) { return std::tolower(c); });
      if (kind == ".jpg" || kind == ".jpeg" || kind == ".png") files.push_back(entry.path());
    }
    std::sort(files.begin() + first, files.end());
  }
  return files;
}

std::vector<std::string> read_lines(const std::string& path) {
  std::ifstream file(path);
  if (!file) throw Error(path + " cannot be read");
  std::vector<std::string> lines;
  for (std::string line; std::getline(file, line);) lines.push_back(line);
  return lines;
}

struct Batch {
  std::vector<fs::path> names;
  at::Tensor x;
};

class Runner {
 public:
  Runner(const Options& options, Package& package)
      : options_(options), package_(package), preprocess_(package.preprocess) {
    classes_ = options.labels.empty() ? package.classes : read_lines(options.labels);
  }

  void run(const std::vector<fs::path>& files) {
    const int64_t size = package_.batch > 0 ? package_.batch : options_.batch;
    std::vector<at::Tensor> inputs;
    Batch batch;
    for (size_t i = 0; i < files.size(); ++i) {
      if (const at::Tensor x = load(files[i]); x.defined()) {
        batch.names.push_back(files[i]);
        inputs.push_back(x);
      }
      const bool last = i + 1 == files.size();
      if (inputs.empty() || (static_cast<int64_t>(inputs.size()) < size && !last)) continue;
      // A package for batches of one size gets its last one filled up.
      const auto images = inputs.size();
      while (package_.batch > 0 && static_cast<int64_t>(inputs.size()) < size) {
        inputs.push_back(inputs.back());
      }
      batch.x = at::stack(inputs);
      for (int64_t repeat = 0; repeat < options_.repeat; ++repeat) {
        run_batch(batch, static_cast<int64_t>(images), repeat == 0);
      }
      inputs.clear();
      batch.names.clear();
      if (isatty(STDERR_FILENO) != 0) std::fprintf(stderr, "\r%zu/%zu images", i + 1, files.size());
    }
    if (isatty(STDERR_FILENO) != 0) std::fprintf(stderr, "\r");
  }

  void print_summary() const {
    const Statistics& all = statistics_;
    const double images = static_cast<double>(all.images);
    const double values = images * static_cast<double>(package_.values());
    const double written = static_cast<double>(all.written_bytes);
    const double read = static_cast<double>(all.read_bytes);
    std::printf("%lld images, %lld skipped\n", static_cast<long long>(all.images),
                static_cast<long long>(all.skipped));
    std::printf("bits/value    %.4f\n", 8 * written / values);
    std::printf("an image      %.0f bytes written, %.0f read, %.4g uJ\n", written / images,
                read / images,
                1e6 * 8 * kSecondsABit * (kWriteWatts * written + kReadWatts * read) / images);
    print_times("time", all.total);
    std::vector<double> network(all.total.size());
    for (size_t i = 0; i < network.size(); ++i) {
      network[i] = all.total[i] - all.encode[i] - all.decode[i];
    }
    print_times("  network", network);
    print_times("  encode", all.encode);
    print_times("  decode", all.decode);
    if (!options_.plain) return;
    print_times("plain time", all.plain);
    std::printf("plain         same top-1 %lld of %lld, SNR %.2f dB\n",
                static_cast<long long>(all.agreeing), static_cast<long long>(all.images),
                all.snr_db / images);
  }

  const Statistics& statistics() const { return statistics_; }

 private:
  static void print_times(const char* name, const std::vector<double>& seconds) {
    std::printf("%-13s %.3f ms median, %.3f ms p95\n", name, 1e3 * quantile(seconds, 0.5),
                1e3 * quantile(seconds, 0.95));
  }

  // Undefined for an image that cannot be read.
  at::Tensor load(const fs::path& path) {
    try {
      const at::Tensor x =
          preprocess_(read_image(path, static_cast<int>(package_.input_shape.front())));
      if (x.sizes() != at::IntArrayRef(package_.input_shape)) {
        std::string shape;
        for (const int64_t size : package_.input_shape) shape += " " + std::to_string(size);
        throw Error("it does not become an input of the shape" + shape +
                    " by the package's preprocessing");
      }
      return x;
    } catch (const std::exception& error) {
      std::fprintf(stderr, "%s skipped: %s\n", path.c_str(), error.what());
      ++statistics_.skipped;
      return {};
    }
  }

  void run_batch(const Batch& batch, int64_t images, bool first) {
    const double size = static_cast<double>(batch.x.size(0));
    take_coder_seconds();
    const auto began = Clock::now();
    const Coded coded = package_.run(batch.x);
    statistics_.total.push_back(seconds_since(began) / size);
    const CoderSeconds coder = take_coder_seconds();
    statistics_.encode.push_back(coder.encode / size);
    statistics_.decode.push_back(coder.decode / size);
    at::Tensor plain;
    if (options_.plain) {
      const auto plain_began = Clock::now();
      plain = package_.run_plain(batch.x);
      statistics_.plain.push_back(seconds_since(plain_began) / size);
    }
    if (!first) return;
    statistics_.images += images;
    count_bytes(coded.used.narrow(0, 0, images));
    const at::Tensor output = coded.output.narrow(0, 0, images);
    print_top(batch, output);
    if (options_.plain) compare(output, plain.narrow(0, 0, images));
  }

  void count_bytes(const at::Tensor& used) {
    const at::Tensor bytes = used.sum(0);
    for (size_t i = 0; i < package_.points.size(); ++i) {
      const auto of_point = bytes[static_cast<int64_t>(i)].item<int64_t>();
      statistics_.written_bytes += of_point;
      statistics_.read_bytes += of_point * package_.points[i].reads;
    }
  }

  // SNR as fmtc.evaluate has it, and whether the best class is the same.
  void compare(const at::Tensor& output, const at::Tensor& plain) {
    const at::Tensor reference = plain.flatten(1).to(at::kDouble);
    const at::Tensor error = (output.flatten(1).to(at::kDouble) - reference).square().sum(1);
    const at::Tensor signal = (reference - reference.mean(1, true)).square().sum(1);
    statistics_.snr_db += ((signal / error).log10() * 10)
                              .nan_to_num(kMostDecibels, kMostDecibels)
                              .clamp_max(kMostDecibels)
                              .sum()
                              .item<double>();
    statistics_.agreeing +=
        (output.flatten(1).argmax(1) == plain.flatten(1).argmax(1)).sum().item<int64_t>();
  }

  void print_top(const Batch& batch, const at::Tensor& output) const {
    if (output.dim() != 2) return;  // no classifier
    const int64_t k = std::min(options_.topk, output.size(1));
    const auto [share, index] = output.softmax(1).topk(k);
    for (int64_t n = 0; n < output.size(0); ++n) {
      std::printf("%s:", batch.names[static_cast<size_t>(n)].c_str());
      for (int64_t i = 0; i < k; ++i) {
        const auto c = index[n][i].item<int64_t>();
        const bool named = c < static_cast<int64_t>(classes_.size());
        std::printf("%s %lld%s%s %.4f", i == 0 ? "" : ",", static_cast<long long>(c),
                    named ? " " : "", named ? classes_[static_cast<size_t>(c)].c_str() : "",
                    share[n][i].item<float>());
      }
      std::printf("\n");
    }
  }

  const Options& options_;
  Package& package_;
  Preprocess preprocess_;
  std::vector<std::string> classes_;
  Statistics statistics_;
};

int run(int argc, char** argv) {
  CLI::App app("A compressed network (fmtc.export) on images.");
  Options options;
  app.add_option("MODEL", options.model, "Package (.pt2)")->required();
  app.add_option("PATH", options.paths, "JPEG and PNG files, or folders of them")->required();
  app.add_option("--labels", options.labels, "Names of the classes, one a line");
  app.add_option("--topk", options.topk, "Classes to print (5)")->check(CLI::PositiveNumber);
  app.add_option("--batch", options.batch, "Images run at a time (1)")->check(CLI::PositiveNumber);
  app.add_option("--threads", options.threads, "Threads (all)")->check(CLI::PositiveNumber);
  app.add_option("--repeat", options.repeat, "Runs of each batch, for the times (1)")
      ->check(CLI::PositiveNumber);
  app.add_flag("--plain", options.plain, "Run the uncompressed network, too, and compare");
  CLI11_PARSE(app, argc, argv);

  const c10::InferenceMode inference;
  if (options.threads > 0) at::set_num_threads(static_cast<int>(options.threads));
  Package package(options.model);
  Runner runner(options, package);
  const std::vector<fs::path> files = find_images(options.paths);
  if (files.empty()) throw Error("there are no images");
  watch_coder();
  runner.run(files);
  if (runner.statistics().images == 0) throw Error("none of the images could be read");
  std::printf("%s\n", package.description.c_str());
  runner.print_summary();
  return 0;
}

}  // namespace
}  // namespace fmtc::infer

int main(int argc, char** argv) {
  try {
    return fmtc::infer::run(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "fmtc_infer: %s\n", error.what());
    return 1;
  }
}
