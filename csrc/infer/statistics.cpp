#include "infer/statistics.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <torch/headeronly/version.h>

#include <cstdio>
#include <fstream>
#include <numeric>
#include <optional>

namespace fmtc::infer {
namespace {

using nlohmann::json;

struct Kind {
  const char *key, *label;  // in the result, for people
  std::vector<double> Times::*seconds;
};
constexpr Kind kKinds[] = {
    {"total", "time", &Times::total},       {"network", "  network", &Times::network},
    {"encode", "  encode", &Times::encode}, {"decode", "  decode", &Times::decode},
    {"plain", "plain time", &Times::plain},
};

std::string cpu_name() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    const size_t colon = line.find(": ");
    if (line.starts_with("model name") && colon != std::string::npos) return line.substr(colon + 2);
  }
  return "unknown";
}

json environment() {
  return {{"fmtc", FMTC_VERSION},   {"commit", nullptr},
          {"torch", TORCH_VERSION}, {"torchvision", nullptr},
          {"python", nullptr},      {"cpu", cpu_name()},
          {"seed", nullptr},        {"threads", at::get_num_threads()}};
}

json quantiles(const std::vector<double>& sample) {
  if (sample.empty()) return nullptr;
  return {{"median", quantile(sample, 0.5)}, {"p95", quantile(sample, 0.95)}};
}

json mean_or_null(const std::vector<double>& sample) {
  return sample.empty() ? json(nullptr) : json(mean(sample));
}

}  // namespace

Statistics::Statistics(const Package& package)
    : package_(package), written_(package.points.size()) {
  for (const MeasuredOutput& output : package.measured) {
    noise_.emplace_back(output.name, output.mean);
  }
}

void Statistics::compare(const std::vector<at::Tensor>& plain, const std::vector<at::Tensor>& coded,
                         int64_t images) {
  const auto first = [&](const at::Tensor& x) { return x.narrow(0, 0, images); };
  const size_t shown = package_.shown;
  with_plain_.add(first(plain[shown]), first(coded[shown]));
  if (!package_.measured.empty()) {
    const size_t index = package_.measured.front().index;
    first_.add(first(plain[index]), first(coded[index]));
  }
  for (size_t i = 0; i < noise_.size(); ++i) {
    const size_t index = package_.measured[i].index;
    noise_[i].add(first(plain[index]), first(coded[index]));
  }
}

json Statistics::outputs() const {
  json outputs = json::array();
  for (const OutputNoise& noise : noise_) {
    const std::optional<double> decibels = noise.decibels();
    outputs.push_back({{"name", noise.name()}, {"snr_db", decibels ? json(*decibels) : json()}});
  }
  return outputs;
}

std::optional<double> Statistics::worst_decibels() const {
  std::optional<double> worst;
  for (const OutputNoise& noise : noise_) {
    const std::optional<double> decibels = noise.decibels();
    if (decibels && (!worst || *decibels < *worst)) worst = decibels;
  }
  return worst;
}

void Statistics::count(const at::Tensor& used) {
  images_ += used.size(0);
  const at::Tensor bytes = used.sum(0);
  for (size_t i = 0; i < written_.size(); ++i) {
    written_[i] += bytes[static_cast<int64_t>(i)].item<int64_t>();
  }
}

double Statistics::bytes_written() const {
  return static_cast<double>(std::accumulate(written_.begin(), written_.end(), int64_t{0}));
}

double Statistics::bytes_read() const {
  int64_t bytes = 0;
  for (size_t i = 0; i < written_.size(); ++i) bytes += written_[i] * package_.points[i].reads;
  return static_cast<double>(bytes);
}

double Statistics::bits_per_value() const {
  return 8 * bytes_written() / static_cast<double>(images_ * package_.values());
}

double Statistics::bits_per_written_value() const {
  const json& written = package_.point.at("written");
  const double values = written.at("values").get<double>();
  const double coded = written.at("coded").get<double>();
  const double uncoded_bits = written.at("uncoded_bits").get<double>();
  return (coded * bits_per_value() + (values - coded) * uncoded_bits) / values;
}

double Statistics::joules_per_image() const {
  return 8 *
         (package_.write_joules_per_bit * bytes_written() +
          package_.read_joules_per_bit * bytes_read()) /
         static_cast<double>(images_);
}

void Statistics::print() const {
  const auto images = static_cast<double>(images_);
  std::printf("%s, preset %s, %s\n", package_.model.c_str(),
              package_.point.value("preset", "").c_str(),
              package_.point.value("setting", json()).dump().c_str());
  std::printf("%lld images, %zu skipped\n", static_cast<long long>(images_), skipped.size());
  std::printf("bits/value    %.4f\n", bits_per_value());
  std::printf("an image      %.0f bytes written, %.0f read, %.4g uJ\n", bytes_written() / images,
              bytes_read() / images, 1e6 * joules_per_image());
  for (const Kind& kind : kKinds) {
    const std::vector<double>& seconds = times.*kind.seconds;
    if (seconds.empty()) continue;
    std::printf("%-13s %.3f ms median, %.3f ms p95\n", kind.label, 1e3 * quantile(seconds, 0.5),
                1e3 * quantile(seconds, 0.95));
  }
  if (with_plain_.of_classifier()) {
    std::printf("plain         same top-1 %lld of %lld\n",
                static_cast<long long>(with_plain_.agreeing),
                static_cast<long long>(with_plain_.images));
  }
  if (const std::optional<double> decibels = worst_decibels()) {
    std::printf("plain         SNR %.2f dB\n", *decibels);
  }
}

json Statistics::result(const std::string& command, const std::string& path) const {
  json dataset = {{"path", path},
                  {"calibration_images", package_.calibration_images},
                  {"evaluated_images", images_}};
  if (!skipped.empty()) dataset["skipped"] = skipped;
  return {{"schema", "fmtc.result/3"},       {"command", command},
          {"model", package_.model},         {"dataset", dataset},
          {"environment", environment()},    {"reference", {{"top1", nullptr}, {"top5", nullptr}}},
          {"points", json::array({point()})}};
}

json Statistics::point() const {
  json point = package_.point;
  if (with_plain_.of_classifier()) {
    point["agreement"] =
        static_cast<double>(with_plain_.agreeing) / static_cast<double>(with_plain_.images);
  }
  point["kl"] = mean_or_null(with_plain_.kl_divergence);
  const std::optional<double> decibels = worst_decibels();
  point["snr_db"] = decibels ? json(*decibels) : json();
  point["snr_db_image"] = mean_or_null(first_.snr_db_image);
  point["outputs"] = outputs();
  point["values"] = images_ * package_.values();
  point["bits_per_value"]["stream"] = bits_per_value();
  point["bits_per_written_value"]["stream"] = bits_per_written_value();
  point["joules_per_image"]["stream"] = joules_per_image();
  point["seconds"]["evaluate"] = seconds;
  for (const Kind& kind : kKinds) {
    point["seconds_per_image"][kind.key] = quantiles(times.*kind.seconds);
  }
  for (size_t i = 0; i < written_.size(); ++i) {
    json& layer = point["layers"][i];
    const int64_t values = images_ * package_.points[i].values;
    layer["values"] = values;
    layer["bits_per_value"]["stream"] =
        8 * static_cast<double>(written_[i]) / static_cast<double>(values);
  }
  return point;
}

}  // namespace fmtc::infer
