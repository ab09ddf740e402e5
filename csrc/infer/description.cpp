#include "infer/description.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <numeric>

#include "codec/array.h"
#include "infer/image.h"

namespace fmtc::infer {
namespace {

using nlohmann::json;

std::string text_or_empty(const json& value) {
  return value.is_null() ? "" : value.get<std::string>();
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

std::vector<LayerRates> layer_rates(const json& counted) {
  std::vector<LayerRates> rates;
  if (!counted.is_null()) {
    for (const json& layer : counted) rates.emplace_back(layer);
  }
  return rates;
}

std::vector<Content> contents(const json& calibration) {
  std::vector<Content> found;
  if (calibration.is_null()) return found;
  for (const json& each : calibration.at("contents")) found.push_back({each.at(0), each.at(1)});
  return found;
}

// Runs what reads metadata, whose errors say which package is damaged.
template <typename F>
void reading(const std::string& where, F f) {
  try {
    f();
  } catch (const std::exception& error) {  // of JSON, of torch, of ours
    const std::string text = error.what();
    throw Error(where + " has damaged metadata: " + text.substr(0, text.find('\n')));
  }
}

void require(bool fits, const char* what) {
  if (!fits) throw Error(what);
}

}  // namespace

NetworkDescription::NetworkDescription(const json& metadata, const std::string& where) {
  reading(where, [&] {
    network = metadata.at("network");
    device = metadata.at("device");
    torch = metadata.at("torch");
    input_shape = metadata.at("input_shape").get<std::vector<int64_t>>();
    if (!metadata.at("batch").is_null()) batch = metadata.at("batch");
    outputs = metadata.at("outputs").size();
    require(!input_shape.empty() && codec::value_count(input_shape) > 0, "its input");
    require(batch >= 0 && batch <= kMaxBatch, "its batch");
    require(outputs > 0, "no outputs");
  });
}

Description::Description(json given, const std::string& where)
    : NetworkDescription(given, where), metadata(std::move(given)) {
  reading(where, [&] {
    model = metadata.at("model");
    preprocess = text_or_empty(metadata.at("preprocess"));
    plain = text_or_empty(metadata.at("plain"));
    if (!metadata.at("classes").is_null()) {
      classes = metadata.at("classes").get<std::vector<std::string>>();
    }
    calibration_images = metadata.at("calibration_images");
    calibration = contents(metadata.at("calibration"));
    if (!metadata.at("calibration").is_null()) seed = metadata.at("calibration").at("seed");
    write_joules_per_bit = metadata.at("joules_per_bit").at("write");
    read_joules_per_bit = metadata.at("joules_per_bit").at("read");
    point = metadata.at("point");
    points = coding_points(point.at("layers"));
    rates = layer_rates(metadata.at("counted"));
    measured = measured_outputs(metadata.at("measured"));
    shown = metadata.at("shown");
    require(!points.empty() && values() > 0, "no coding points");
    require(rates.empty() || rates.size() == points.size(), "what it counts");
    require(shown < outputs && !measured.empty(), "its outputs");
    require(std::ranges::all_of(measured, [&](const auto& of) { return of.index < outputs; }),
            "its outputs");
    const auto shape = metadata.at("outputs").at(shown).get<std::vector<int64_t>>();
    if (shape.size() == 1 && shape.front() > 1) class_count = shape.front();
  });
  for (json& output : metadata.at("measured")) output["mean"] = nullptr;
}

int64_t Description::values() const {
  return std::accumulate(points.begin(), points.end(), int64_t{0},
                         [](int64_t sum, const CodingPoint& point) { return sum + point.values; });
}

double Description::of_all_written(double bits_per_value) const {
  const json& written = point.at("written");
  const double values = written.at("values").get<double>();
  const double share = written.at("coded").get<double>() / values;
  return share * bits_per_value + (1 - share) * written.at("uncoded_bits").get<double>();
}

}  // namespace fmtc::infer
