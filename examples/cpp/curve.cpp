// A curve of points, measured by a program of one's own: curve DATA POINT.pt2 [POINT.pt2 ...]
// Packages are those of `fmtc eval --export`. Here the first 100 images, 10 at a time.
#include <c10/core/InferenceMode.h>
#include <fmtc/infer/choice.h>
#include <fmtc/infer/dataset.h>
#include <fmtc/infer/loader.h>
#include <fmtc/infer/runner.h>

#include <cstdio>
#include <exception>

namespace infer = fmtc::infer;

static void measure(const std::string& data, const std::vector<std::string>& packages) {
  const c10::InferenceMode inference;
  infer::Networks networks(packages, "cpu");
  const infer::Package& first = networks.first();
  const infer::Dataset dataset(data, {});
  const infer::Preprocess preprocess(first.preprocess, infer::kDefaultMaxPixels);
  const infer::Choice choice = infer::choose(dataset, networks.calibration(), 100, 0);
  std::vector<std::vector<size_t>> batches;
  for (size_t i = 0; i < choice.images.size(); i += 10) {
    batches.emplace_back(choice.images.begin() + i, choice.images.begin() + i + 10);
  }
  infer::Run run;
  run.path = data;
  run.points = networks.descriptions();
  infer::Evaluation evaluation(run, 1, batches.size());
  infer::Loader loader(dataset, preprocess, batches, first.input_shape, 2);
  while (const auto batch = loader.next()) networks.run(*batch, evaluation);
  for (const infer::EvaluatedPoint& point : evaluation.points) {
    const nlohmann::json result = point.result();
    std::printf("%.3f bits a value, %.2f dB\n", result["bits_per_value"]["stream"].get<double>(),
                result["snr_db"].get<double>());
  }
}

int main(int argc, char** argv) try {
  measure(argv[1], {argv + 2, argv + argc});
} catch (const std::exception& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 1;
}
