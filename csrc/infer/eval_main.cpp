// fmtc_eval: rate-distortion points of a network, measured without Python.
#include <ATen/Parallel.h>
#include <c10/core/InferenceMode.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "codec/file.h"
#include "codec/options.h"
#include "core/crc32.h"
#include "infer/choice.h"
#include "infer/dataset.h"
#include "infer/environment.h"
#include "infer/evaluation.h"
#include "infer/image.h"
#include "infer/loader.h"
#include "infer/preprocess.h"
#include "infer/progress.h"
#include "infer/runner.h"
#include "infer/table.h"

namespace fmtc::infer {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

constexpr int kDecoders = 2;
constexpr int kInterrupted = 130;                         // exit status, as a shell has it
constexpr auto kBetweenWrites = std::chrono::minutes(1);  // of a part, in case of a crash

struct Options {
  std::vector<std::string> packages, parts;
  std::string data, labels, class_index, device, json, shard;
  int64_t images = 0, batch = 25, threads = 0;
  std::optional<int64_t> seed;
  int64_t max_pixels = kDefaultMaxPixels;
  uint64_t max_bytes = codec::kDefaultMaxBytes;
  bool resume = false;
  std::string command;
};

volatile std::sig_atomic_t interrupted = 0;

// The first Ctrl-C lets the batch in work end; a second one is as if there were none of this.
void watch_interrupts() {
  struct sigaction action = {};
  action.sa_handler = [](int) { interrupted = 1; };
  action.sa_flags = static_cast<int>(SA_RESETHAND);
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
}

void write_text(const std::string& path, const std::string& text) {
  std::fflush(stdout);  // which the path may be
  codec::write_file(path, {reinterpret_cast<const uint8_t*>(text.data()), text.size()});
}

void present(const Evaluation& evaluation, const Options& options) {
  const nlohmann::json result = evaluation.result(options.command);
  std::fputs(result_table(result).c_str(), stdout);
  if (options.json.empty()) return;
  // File names need not be UTF-8.
  write_text(options.json,
             result.dump(1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n");
}

// "2/8": which of how many.
std::pair<int64_t, int64_t> parse_shard(const std::string& text) {
  if (text.empty()) return {1, 1};
  long long shard = 0, shards = 0;
  int read = 0;
  const bool two = std::sscanf(text.c_str(), "%lld/%lld%n", &shard, &shards, &read) == 2;
  if (!two || static_cast<size_t>(read) != text.size() || shard < 1 || shards < shard) {
    throw Error("--shard: expected I/N, with I from 1 to N, not '" + text + "'");
  }
  return {shard, shards};
}

uint32_t crc_of_names(const Dataset& dataset, const std::vector<size_t>& images) {
  uint32_t crc = 0;
  for (const size_t index : images) {
    const std::string name = dataset.name(index) + "\n";
    crc = crc32({reinterpret_cast<const uint8_t*>(name.data()), name.size()}, crc);
  }
  return crc;
}

class Program {
 public:
  explicit Program(const Options& options)
      : options_(options),
        shard_(parse_shard(options.shard)),
        dataset_(options.data,
                 {options.labels, options.class_index, options.max_pixels, options.max_bytes}),
        networks_(options.packages, options.device),
        preprocess_(networks_.first().preprocess, options.max_pixels) {
    if (dataset_.has_labels() && networks_.first().class_count > 0) {
      dataset_.check_classes(networks_.first().class_count);
    }
    dataset_.require_readable(preprocess_.decoded_channels(networks_.first().input_shape.front()));
  }

  // Returns the exit status.
  int run() {
    const auto [shard, shards] = shard_;
    const Run run = described(shards);
    std::vector<std::vector<size_t>> batches = batches_of(shard, shards);
    Evaluation evaluation(run, shard, batches.size());
    if (options_.resume) resume(evaluation);
    batches.erase(batches.begin(), batches.begin() + static_cast<ptrdiff_t>(evaluation.done));
    const bool whole = evaluate(evaluation, std::move(batches));
    if (!whole) {
      std::fprintf(stderr, "interrupted after %zu of %zu batches%s\n", evaluation.done,
                   evaluation.batches(),
                   part_path().empty() ? "" : "; the same command with --resume goes on");
      save(evaluation);
      return kInterrupted;
    }
    if (!options_.shard.empty()) {
      save(evaluation);
      return 0;
    }
    present(evaluation, options_);
    if (!part_path().empty()) fs::remove(part_path());
    return 0;
  }

 private:
  Run described(int64_t shards) {
    const int64_t seed = options_.seed.value_or(networks_.first().seed);
    std::optional<size_t> images;
    if (options_.images > 0) images = static_cast<size_t>(options_.images);
    choice_ = choose(dataset_, networks_.calibration(), images, static_cast<uint32_t>(seed));
    Run run;
    run.path = dataset_.path();
    run.images = choice_.images.size();
    run.choice = crc_of_names(dataset_, choice_.images);
    run.left_out = choice_.left_out;
    run.seed = seed;
    run.batch = options_.batch;
    run.threads = at::get_num_threads();
    run.shards = shards;
    run.points = networks_.descriptions();
    return run;
  }

  // Every so many-th batch of all: a batch holds the same images whatever the shards are.
  std::vector<std::vector<size_t>> batches_of(int64_t shard, int64_t shards) const {
    std::vector<std::vector<size_t>> batches;
    const auto size = static_cast<size_t>(options_.batch);
    const std::vector<size_t>& images = choice_.images;
    for (size_t begin = 0, number = 0; begin < images.size(); begin += size, ++number) {
      if (number % static_cast<size_t>(shards) != static_cast<size_t>(shard - 1)) continue;
      const size_t end = std::min(begin + size, images.size());
      batches.emplace_back(images.begin() + static_cast<ptrdiff_t>(begin),
                           images.begin() + static_cast<ptrdiff_t>(end));
    }
    if (batches.empty()) throw Error("--shard " + options_.shard + " has no batch; take fewer");
    return batches;
  }

  // Where what has been measured is kept before it is a result; empty where nothing is written.
  std::string part_path() const {
    if (options_.json.empty()) return "";
    return options_.shard.empty() ? options_.json + ".part" : options_.json;
  }

  void save(const Evaluation& evaluation) const {
    if (!part_path().empty()) evaluation.write(part_path(), options_.command);
  }

  void resume(Evaluation& evaluation) const {
    if (part_path().empty()) throw Error("--resume needs --json, where the earlier part is");
    if (!fs::exists(part_path())) return;
    Evaluation earlier = Evaluation::read(part_path(), options_.max_bytes);
    earlier.check_same(evaluation, part_path());
    if (earlier.shard() != evaluation.shard() || earlier.batches() != evaluation.batches()) {
      throw Error(part_path() + " is another shard's");
    }
    // The packages' descriptions, which have the means of outputs.
    evaluation.add(earlier);
  }

  // False where it was interrupted.
  bool evaluate(Evaluation& evaluation, std::vector<std::vector<size_t>> batches) {
    size_t all = evaluation.images;
    for (const auto& batch : batches) all += batch.size();
    Progress progress(evaluation.images);
    Loader loader(dataset_, preprocess_, std::move(batches), networks_.first().input_shape,
                  kDecoders);
    const auto began = Clock::now();
    auto written = began;
    const size_t before = evaluation.images;
    std::optional<Batch> batch = loader.next();
    std::fprintf(stderr, "%zu images, %zu of calibration left out\n", choice_.images.size(),
                 choice_.left_out);
    for (; batch; batch = loader.next()) {
      for (const Batch::Skipped& image : batch->skipped) {
        progress.clear();
        std::fprintf(stderr, "%s skipped: %s\n", image.name.c_str(),
                     codec::printable(image.why).c_str());
        evaluation.skipped.push_back(image.name);
      }
      if (batch->images.defined()) networks_.run(*batch, evaluation);
      ++evaluation.done;
      evaluation.images += batch->asked;
      progress.show(evaluation.images, all);
      if (interrupted && !evaluation.finished()) return false;
      if (Clock::now() - written > kBetweenWrites) {
        save(evaluation);
        written = Clock::now();
      }
    }
    progress.clear();
    const double seconds = std::chrono::duration<double>(Clock::now() - began).count();
    std::fprintf(stderr, "%.1f images a second, %.1f %% of the time in the networks\n",
                 static_cast<double>(evaluation.images - before) / seconds,
                 100 * networks_.seconds() / seconds);
    return true;
  }

  const Options& options_;
  std::pair<int64_t, int64_t> shard_;
  Dataset dataset_;
  Networks networks_;
  Preprocess preprocess_;
  Choice choice_;
};

void add_options(CLI::App& app, Options& options) {
  app.add_option("POINT", options.packages, "Packages (.pt2) of one network's points");
  app.add_option("--data", options.data,
                 "A folder of images, an ImageFolder, or an .npz with images and labels");
  app.add_option("--labels", options.labels, "CSV with the header file,label for a folder");
  app.add_option("--class-index", options.class_index,
                 "JSON or CSV that maps an ImageFolder's folder names to class indices");
  app.add_option("--images", options.images, "Images to evaluate (all but those of calibration)")
      ->check(codec::whole_number(1, int64_t{1} << 40));
  app.add_option("--seed", options.seed, "Of the choice of images (that of the calibration)")
      ->check(codec::whole_number(0, (int64_t{1} << 32) - 1));
  app.add_option("--batch", options.batch, "Images at a time (25)")
      ->check(codec::whole_number(1, kMaxBatch));
  app.add_option("--threads", options.threads, "Threads of the networks (all)")
      ->check(codec::whole_number(1, 1 << 10));
  app.add_option("--device", options.device, "cpu or cuda, which the packages must be for")
      ->check(CLI::IsMember({"cpu", "cuda"}));
  app.add_option("--json", options.json, "Write a result of the schema fmtc.result/3, or a part");
  app.add_option("--shard", options.shard, "I/N: evaluate this part alone, and write it to --json");
  app.add_option("--merge", options.parts, "Make one result of these parts, and run nothing");
  app.add_flag("--resume", options.resume, "Go on with what was interrupted");
  app.add_option("--max-pixels", options.max_pixels, "Of an image, at most (178956970)")
      ->check(codec::whole_number(1, int64_t{1} << 40));
  app.add_option("--max-bytes", options.max_bytes, "Of an .npz, labels and parts (2^32)")
      ->check(codec::whole_number(1, codec::kMostSize));
}

void check_options(const Options& options) {
  if (!options.parts.empty()) {
    if (!options.packages.empty()) throw Error("give packages to run or --merge, not both");
    return;
  }
  if (options.packages.empty()) throw Error("give at least one package, a POINT.pt2");
  if (options.data.empty()) throw Error("give --data, the images");
  if (!options.shard.empty() && options.json.empty()) {
    throw Error("--shard needs --json, where its part is written");
  }
}

int run(int argc, char** argv) {
  CLI::App app("Rate-distortion points of a network (fmtc eval --export) on images.");
  Options options;
  add_options(app, options);
  if (const auto status = codec::parsed(app, argc, argv)) return *status;
  if (app.count("--json") > 0) codec::require_writable(options.json);
  check_options(options);
  for (int i = 0; i < argc; ++i) options.command += (i > 0 ? " " : "") + std::string(argv[i]);
  if (!options.parts.empty()) {
    present(merged(options.parts, options.max_bytes), options);
    return 0;
  }
  keep_freed_memory();
  watch_interrupts();
  const c10::InferenceMode inference;
  if (options.threads > 0) at::set_num_threads(static_cast<int>(options.threads));
  return Program(options).run();
}

}  // namespace
}  // namespace fmtc::infer

int main(int argc, char** argv) {
  try {
    return fmtc::infer::run(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "fmtc_eval: %s\n", fmtc::codec::printable(error.what()).c_str());
    return fmtc::codec::kFailed;
  }
}
