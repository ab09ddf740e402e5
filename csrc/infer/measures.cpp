#include "infer/measures.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>

#include <algorithm>
#include <cmath>

#include "infer/image.h"

namespace fmtc::infer {
namespace {

using nlohmann::json;

constexpr double kZ95 = 1.959963984540054;  // two-sided 95 % quantile of the normal distribution
constexpr int kResamples = 1000;

json share(int64_t part, int64_t all) {
  return all == 0 ? json() : json(static_cast<double>(part) / static_cast<double>(all));
}

json interval(const std::pair<double, double>& ends) { return {ends.first, ends.second}; }

json mean_or_null(const std::vector<double>& sample) {
  return sample.empty() ? json() : json(mean(sample));
}

void check_alike(const at::Tensor& output, const at::Tensor& reference) {
  if (output.sizes() != reference.sizes()) {
    throw Error("outputs of the compressed network and of the plain one differ in shape");
  }
  for (const at::Tensor* of : {&output, &reference}) {
    if (of->isfinite().all().item<bool>()) continue;
    const char* whose = of == &output ? "compressed" : "plain";
    throw Error(std::string("an output of the ") + whose + " network has NaN or Inf");
  }
}

}  // namespace

std::pair<double, double> wilson_interval(int64_t successes, int64_t trials) {
  const auto n = static_cast<double>(trials), share = static_cast<double>(successes) / n;
  const double scale = 1 / (1 + kZ95 * kZ95 / n);
  const double centre = (share + kZ95 * kZ95 / (2 * n)) * scale;
  const double half = kZ95 * std::sqrt(share * (1 - share) / n + kZ95 * kZ95 / (4 * n * n)) * scale;
  return {std::max(0.0, centre - half), std::min(1.0, centre + half)};
}

std::pair<double, double> bootstrap_interval(std::vector<double> figures) {
  std::ranges::sort(figures);
  const at::Tensor values = at::tensor(figures, at::kDouble);
  at::Generator generator = at::make_generator<at::CPUGeneratorImpl>(0);
  std::vector<double> means;
  for (int i = 0; i < kResamples; ++i) {
    const at::Tensor drawn = at::randint(values.numel(), {values.numel()}, generator, at::kLong);
    means.push_back(values.index_select(0, drawn).mean().item<double>());
  }
  const at::Tensor ends =
      at::quantile(at::tensor(means, at::kDouble), at::tensor({0.025, 0.975}, at::kDouble));
  return {ends[0].item<double>(), ends[1].item<double>()};
}

void Accuracy::add(const at::Tensor& output, const at::Tensor& labels) {
  const int64_t classes = output.size(1);
  const at::Tensor outside = labels.masked_select((labels < 0).logical_or(labels >= classes));
  if (outside.numel() > 0) {
    throw Error("label " + std::to_string(outside[0].item<int64_t>()) + " is outside 0..." +
                std::to_string(classes - 1) + ": the model has " + std::to_string(classes) +
                " classes");
  }
  images += labels.size(0);
  top1 += (output.argmax(1) == labels).sum().item<int64_t>();
  if (classes <= 5) return;  // among five classes the top five are always right
  const at::Tensor best = std::get<1>(output.topk(5, 1));
  images_of_five += labels.size(0);
  top5 += (best == labels.unsqueeze(1)).any(1).sum().item<int64_t>();
}

void Accuracy::add(const json& state) {
  images += state.at("images").get<int64_t>();
  top1 += state.at("top1").get<int64_t>();
  images_of_five += state.at("images_of_five").get<int64_t>();
  top5 += state.at("top5").get<int64_t>();
}

json Accuracy::state() const {
  return {{"images", images}, {"top1", top1}, {"images_of_five", images_of_five}, {"top5", top5}};
}

json Accuracy::top1_share() const { return share(top1, images); }
json Accuracy::top5_share() const { return share(top5, images_of_five); }

Measures::Measures(const Description& description) : shown_(description.shown) {
  for (const MeasuredOutput& output : description.measured) {
    indices_.push_back(output.index);
    noise_.emplace_back(output.name, output.mean);
  }
}

void Measures::add(const std::vector<at::Tensor>& outputs,
                   const std::vector<at::Tensor>& references, const at::Tensor& labels) {
  for (const size_t index : indices_) check_alike(outputs[index], references[index]);
  const at::Tensor &output = outputs[shown_], &reference = references[shown_];
  images_ += output.size(0);
  if (is_classifier(output)) {
    if (labels.defined()) accuracy_.add(output, labels);
    agreeing_ += (output.argmax(1) == reference.argmax(1)).sum().item<int64_t>();
    append(kl_, kl_divergence_of(reference, output));
  }
  const size_t first = indices_.front();
  const at::Tensor decibels = signal_to_noise(references[first], outputs[first]);
  append(snr_db_image_, decibels.masked_select(decibels.isnan().logical_not()));
  for (size_t i = 0; i < noise_.size(); ++i) {
    noise_[i].add(references[indices_[i]], outputs[indices_[i]]);
  }
}

void Measures::add(const json& state) {
  images_ += state.at("images").get<int64_t>();
  agreeing_ += state.at("agreeing").get<int64_t>();
  accuracy_.add(state.at("accuracy"));
  for (const double each : state.at("kl")) kl_.push_back(each);
  for (const double each : state.at("snr_db_image")) snr_db_image_.push_back(each);
  const json& outputs = state.at("outputs");
  if (outputs.size() != noise_.size()) throw Error("its outputs are others");
  for (size_t i = 0; i < noise_.size(); ++i) noise_[i].add(outputs.at(i));
}

json Measures::state() const {
  json outputs = json::array();
  for (const OutputNoise& noise : noise_) outputs.push_back(noise.state());
  return {{"images", images_}, {"agreeing", agreeing_},         {"accuracy", accuracy_.state()},
          {"kl", kl_},         {"snr_db_image", snr_db_image_}, {"outputs", outputs}};
}

std::optional<double> Measures::worst_decibels() const {
  std::optional<double> worst;
  for (const OutputNoise& noise : noise_) {
    const std::optional<double> decibels = noise.decibels();
    if (decibels && (!worst || *decibels < *worst)) worst = decibels;
  }
  return worst;
}

json Measures::summary() const {
  json outputs = json::array();
  for (const OutputNoise& noise : noise_) {
    const std::optional<double> decibels = noise.decibels();
    outputs.push_back({{"name", noise.name()}, {"snr_db", decibels ? json(*decibels) : json()}});
  }
  const std::optional<double> worst = worst_decibels();
  json top1_interval, kl_interval;
  if (accuracy_.images > 0) {
    top1_interval = interval(wilson_interval(accuracy_.top1, accuracy_.images));
  }
  if (!kl_.empty()) kl_interval = interval(bootstrap_interval(kl_));
  return {{"top1", accuracy_.top1_share()},
          {"top1_interval", top1_interval},
          {"top5", accuracy_.top5_share()},
          {"agreement", of_classifier() ? share(agreeing_, images_) : json()},
          {"kl", mean_or_null(kl_)},
          {"kl_interval", kl_interval},
          {"snr_db", worst ? json(*worst) : json()},
          {"snr_db_image", mean_or_null(snr_db_image_)},
          {"outputs", outputs}};
}

}  // namespace fmtc::infer
