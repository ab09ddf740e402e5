#include "infer/timing.h"

#include <ATen/record_function.h>

#include <chrono>
#include <memory>
#include <string_view>
#include <utility>

#include "infer/comparison.h"

namespace fmtc::infer {
namespace {

using Clock = std::chrono::steady_clock;

CoderSeconds seconds;

// Where the time of an operator is counted; null for all that are not the coder's.
double* counter_of(std::string_view name) {
  if (!name.starts_with("fmtc::")) return nullptr;
  if (name.ends_with("_encode") || name == "fmtc::encode_point" || name == "fmtc::predict" ||
      name == "fmtc::position_activity") {
    return &seconds.encode;
  }
  const bool decoder =
      name.ends_with("_decode") || name == "fmtc::decode_point" || name == "fmtc::unpredict";
  return decoder ? &seconds.decode : nullptr;
}

struct Call : at::ObserverContext {
  double* counter;
  Clock::time_point began = Clock::now();

  explicit Call(double* counter) : counter(counter) {}
};

std::unique_ptr<at::ObserverContext> began(const at::RecordFunction& function) {
  double* counter = counter_of(function.name());
  return counter == nullptr ? nullptr : std::make_unique<Call>(counter);
}

void ended(const at::RecordFunction&, at::ObserverContext* context) {
  if (const auto* call = static_cast<Call*>(context)) {
    *call->counter += std::chrono::duration<double>(Clock::now() - call->began).count();
  }
}

nlohmann::json quantiles(const std::vector<double>& sample) {
  if (sample.empty()) return nullptr;
  return {{"median", quantile(sample, 0.5)}, {"p95", quantile(sample, 0.95)}};
}

}  // namespace

const std::array<Times::Kind, 5> Times::kKinds = {{
    {"total", "time", &Times::total},
    {"network", "  network", &Times::network},
    {"encode", "  encode", &Times::encode},
    {"decode", "  decode", &Times::decode},
    {"plain", "plain time", &Times::plain},
}};

nlohmann::json Times::summary() const {
  nlohmann::json summary;
  for (const Kind& kind : kKinds) summary[kind.key] = quantiles(this->*kind.seconds);
  return summary;
}

nlohmann::json Times::state() const {
  nlohmann::json state;
  for (const Kind& kind : kKinds) state[kind.key] = this->*kind.seconds;
  return state;
}

void Times::add(const nlohmann::json& state) {
  for (const Kind& kind : kKinds) {
    for (const double each : state.at(kind.key)) (this->*kind.seconds).push_back(each);
  }
}

void watch_coder() {
  [[maybe_unused]] static const auto handle = at::addGlobalCallback(
      at::RecordFunctionCallback(began, ended).scopes({at::RecordScope::FUNCTION}));
}

CoderSeconds take_coder_seconds() { return std::exchange(seconds, {}); }

}  // namespace fmtc::infer
