#include "infer/evaluated_point.h"

#include <algorithm>

#include "infer/image.h"

namespace fmtc::infer {

using nlohmann::json;

EvaluatedPoint::EvaluatedPoint(const Description& description)
    : description_(description), measures_(description), counts_(description.points.size()) {}

void EvaluatedPoint::add(const Coded& coded, const std::vector<at::Tensor>& plain,
                         const at::Tensor& labels) {
  measures_.add(coded.outputs, plain, labels);
  for (size_t i = 0; i < counts_.size(); ++i) counts_[i].add(coded.counts[i]);
}

void EvaluatedPoint::add_seconds(double total, const CoderSeconds* coder, double plain,
                                 int64_t images) {
  const auto size = static_cast<double>(images);
  seconds_ += total;
  times_.total.push_back(total / size);
  times_.plain.push_back(plain / size);
  if (coder == nullptr) return;
  times_.network.push_back((total - coder->encode - coder->decode) / size);
  times_.encode.push_back(coder->encode / size);
  times_.decode.push_back(coder->decode / size);
}

void EvaluatedPoint::add(const json& state, bool at_once) {
  measures_.add(state.at("measures"));
  const json& counts = state.at("counts");
  if (counts.size() != counts_.size()) throw Error("its coding points are others");
  for (size_t i = 0; i < counts_.size(); ++i) counts_[i].add(LayerCounts::of(counts.at(i)));
  times_.add(state.at("times"));
  const double seconds = state.at("seconds");
  seconds_ = at_once ? std::max(seconds_, seconds) : seconds_ + seconds;
}

json EvaluatedPoint::state() const {
  json counts = json::array();
  for (const LayerCounts& layer : counts_) counts.push_back(layer.state());
  return {{"measures", measures_.state()},
          {"counts", counts},
          {"times", times_.state()},
          {"seconds", seconds_}};
}

// Of writing and reading all feature maps of an image at one of the rates.
double EvaluatedPoint::joules(const std::vector<Bits>& bits, size_t rate) const {
  double joules = 0;
  for (size_t i = 0; i < bits.size(); ++i) {
    const double reads = static_cast<double>(description_.points[i].reads);
    joules += bits[i][rate] *
              (description_.write_joules_per_bit + reads * description_.read_joules_per_bit);
  }
  return joules / static_cast<double>(images());
}

json EvaluatedPoint::result() const {
  if (images() == 0) throw Error("none of the images could be read");
  json point = description_.point;
  point.update(measures_.summary());
  const int64_t values = images() * description_.values();
  std::vector<Bits> bits;
  int64_t clamped = 0;
  for (size_t i = 0; i < counts_.size(); ++i) {
    const int64_t of_layer = images() * description_.points[i].values;
    bits.push_back(description_.rates[i].bits(counts_[i], of_layer));
    clamped += counts_[i].clamped;
    json& layer = point.at("layers").at(i);
    layer["values"] = of_layer;
    for (size_t rate = 0; rate < kRates.size(); ++rate) {
      layer["bits_per_value"][kRates[rate]] = bits.back()[rate] / static_cast<double>(of_layer);
    }
  }
  for (size_t rate = 0; rate < kRates.size(); ++rate) {
    double sum = 0;
    for (const Bits& of_layer : bits) sum += of_layer[rate];
    const double bits_per_value = sum / static_cast<double>(values);
    point["bits_per_value"][kRates[rate]] = bits_per_value;
    point["bits_per_written_value"][kRates[rate]] = description_.of_all_written(bits_per_value);
    point["joules_per_image"][kRates[rate]] = joules(bits, rate);
  }
  point["values"] = values;
  point["clamped_fraction"] = static_cast<double>(clamped) / static_cast<double>(values);
  point["seconds"]["evaluate"] = seconds_;
  point["seconds_per_image"] = times_.summary();
  return point;
}

}  // namespace fmtc::infer
