// A curve of points, measured by a program of one's own: curve DATA POINT.pt2 POINT.pt2 ...
// Packages are those of `fmtc eval --export`; here of 100 images, 10 at a time.
#include <c10/core/InferenceMode.h>
#include <fmtc/infer/choice.h>
#include <fmtc/infer/loader.h>
#include <fmtc/infer/runner.h>

#include <cstdio>
#include <exception>

using namespace fmtc::infer;

static void measure(const std::string& data, const std::vector<std::string>& packages) {
  const c10::InferenceMode inference;
  Networks networks(packages, "cpu");
  const Dataset dataset(data, {});
  const Preprocess preprocess(networks.first().preprocess, kDefaultMaxPixels);
  const std::vector<size_t> images = choose(dataset, networks.calibration(), 100, 0).images;
  std::vector<std::vector<size_t>> batches;
  for (auto next = images.begin(); next != images.end(); next += 10) {
    batches.emplace_back(next, next + 10);
  }
  Run run;
  run.points = networks.descriptions();
  Evaluation evaluation(run, 1, batches.size());
  Loader loader(dataset, preprocess, batches, networks.first().input_shape, 2);
  while (const auto batch = loader.next()) networks.run(*batch, evaluation);
  for (const EvaluatedPoint& point : evaluation.points) {
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
