#include "infer/reference.h"

#include <ATen/ATen.h>

#include <cstdio>

#include "codec/array.h"
#include "codec/safetensors.h"
#include "infer/image.h"

namespace fmtc::infer {
namespace {

constexpr const char* kSchema = "fmtc.reference/1";

template <typename T>
at::Tensor to_tensor(const std::vector<T>& values, const std::vector<int64_t>& shape) {
  return at::tensor(values).view(shape);
}

}  // namespace

Reference::Reference(const std::string& path, uint64_t max_bytes) : path_(path) {
  const std::vector<uint8_t> bytes = codec::read_file(path, max_bytes);
  try {
    const codec::Safetensors file(bytes);
    if (const std::string schema = file.metadata("schema"); schema != kSchema) {
      throw Error("its schema is '" + schema + "', not " + kSchema + " (fmtc.export_reference)");
    }
    const codec::Array output = file.tensor("output"), plain = file.tensor("plain");
    const codec::Array used = file.tensor("used");
    output_ = to_tensor(output.floats("output"), output.shape);
    plain_ = to_tensor(plain.floats("plain"), plain.shape);
    used_ = to_tensor(used.values<int64_t>("used"), used.shape);
  } catch (const std::runtime_error& error) {
    throw Error(path + " is no reference to check against: " + error.what());
  }
  if (output_.dim() < 1 || used_.dim() != 2 || output_.size(0) != used_.size(0) ||
      output_.sizes() != plain_.sizes()) {
    throw Error(path + " is no reference to check against: its tensors do not fit together");
  }
}

void Reference::add(const std::vector<std::string>& names, const at::Tensor& output,
                    const at::Tensor& used) {
  const int64_t first = images_, count = output.size(0);
  images_ += count;
  if (images_ > output_.size(0)) return;  // conclude() says so
  const at::Tensor expected = output_.narrow(0, first, count);
  const at::Tensor expected_used = used_.narrow(0, first, count);
  if (expected.sizes() != output.sizes() || expected_used.sizes() != used.sizes()) {
    throw Error(path_ + " is of another network: its outputs or coding points differ in number");
  }
  with_run_.add(expected, output);
  with_plain_.add(plain_.narrow(0, first, count), expected);
  bytes_ += expected_used.sum().item<int64_t>();
  other_bytes_ += (used - expected_used).abs().sum().item<int64_t>();
  if (!is_classifier(output)) return;
  const at::Tensor best = output.argmax(1), expected_best = expected.argmax(1);
  for (int64_t n = 0; n < count; ++n) {
    const auto c = best[n].item<int64_t>(), of_reference = expected_best[n].item<int64_t>();
    if (c == of_reference) continue;
    std::fprintf(stderr, "%s: class %lld, in the reference %lld\n",
                 names[static_cast<size_t>(n)].c_str(), static_cast<long long>(c),
                 static_cast<long long>(of_reference));
  }
}

void Reference::conclude() const {
  const auto text = [](int64_t n) { return std::to_string(n); };
  if (images_ != output_.size(0)) {
    throw Error(path_ + " is of " + text(output_.size(0)) + " images, this run of " +
                text(images_));
  }
  const int64_t others = with_run_.of_classifier() ? images_ - with_run_.agreeing : 0;
  const double decibels = mean(with_run_.snr_db_image), of_plain = mean(with_plain_.snr_db_image);
  std::printf(
      "check         %lld images, %lld of another class, SNR %.1f dB (of the reference's "
      "own noise %.1f dB), %lld of %lld bytes differ\n",
      static_cast<long long>(images_), static_cast<long long>(others), decibels, of_plain,
      static_cast<long long>(other_bytes_), static_cast<long long>(bytes_));
  std::string why;
  if (others > 0) why += ", " + text(others) + " images are of another class";
  if (!(decibels >= of_plain)) why += ", the outputs are farther away than quantisation explains";
  if (static_cast<double>(other_bytes_) > kMostBytes * static_cast<double>(bytes_)) {
    why += ", the streams have other sizes (" + text(other_bytes_) + " bytes)";
  }
  if (!why.empty()) throw Error("the run differs from " + path_ + ": " + why.substr(2));
}

}  // namespace fmtc::infer
