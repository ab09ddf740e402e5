#include "infer/statistics.h"

#include <ATen/ATen.h>

#include <cstdio>
#include <numeric>
#include <optional>

#include "infer/environment.h"

namespace fmtc::infer {

using nlohmann::json;

Statistics::Statistics(const Description& package)
    : package_(package), written_(package.points.size()), measures_(package) {}

void Statistics::compare(const std::vector<at::Tensor>& plain, const std::vector<at::Tensor>& coded,
                         int64_t images) {
  const auto first = [&](std::vector<at::Tensor> all) {
    for (const MeasuredOutput& output : package_.measured) {
      all[output.index] = all[output.index].narrow(0, 0, images);
    }
    return all;
  };
  measures_.add(first(coded), first(plain));
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
  for (const Times::Kind& kind : Times::kKinds) {
    const std::vector<double>& seconds = times.*kind.seconds;
    if (seconds.empty()) continue;
    std::printf("%-13s %.3f ms median, %.3f ms p95\n", kind.label, 1e3 * quantile(seconds, 0.5),
                1e3 * quantile(seconds, 0.95));
  }
  if (measures_.of_classifier()) {
    std::printf("plain         same top-1 %lld of %lld\n",
                static_cast<long long>(measures_.agreeing()),
                static_cast<long long>(measures_.images()));
  }
  if (const std::optional<double> decibels = measures_.worst_decibels()) {
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
  if (measures_.images() > 0) point.update(measures_.summary());
  point["values"] = images_ * package_.values();
  point["bits_per_value"]["stream"] = bits_per_value();
  point["bits_per_written_value"]["stream"] = package_.of_all_written(bits_per_value());
  point["joules_per_image"]["stream"] = joules_per_image();
  point["seconds"]["evaluate"] = seconds;
  point["seconds_per_image"] = times.summary();
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
