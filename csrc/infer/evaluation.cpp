#include "infer/evaluation.h"

#include <algorithm>
#include <map>

#include "codec/file.h"
#include "codec/json.h"
#include "infer/environment.h"
#include "infer/image.h"

namespace fmtc::infer {
namespace {

using nlohmann::json;

constexpr const char* kSchema = "fmtc.part/1";

// The entries of a run in words.
const std::map<std::string, std::string> kWords = {
    {"path", "--data"},        {"images", "the number of images"},
    {"choice", "the images"},  {"left_out", "the images left out"},
    {"seed", "--seed"},        {"batch", "--batch"},
    {"threads", "--threads"},  {"shards", "the number of shards"},
    {"points", "the packages"}};

json parsed(const std::string& path, uint64_t max_bytes) {
  const std::vector<uint8_t> bytes = codec::read_file(path, max_bytes);
  return codec::parse_json({reinterpret_cast<const char*>(bytes.data()), bytes.size()},
                           path.c_str());
}

}  // namespace

json Run::state() const {
  json packages = json::array();
  for (const Description& point : points) packages.push_back(point.metadata);
  return {{"path", path},         {"images", images}, {"choice", choice},
          {"left_out", left_out}, {"seed", seed},     {"batch", batch},
          {"threads", threads},   {"shards", shards}, {"points", packages}};
}

Run::Run(const json& state)
    : path(state.at("path")),
      images(state.at("images")),
      choice(state.at("choice")),
      left_out(state.at("left_out")),
      seed(state.at("seed")),
      batch(state.at("batch")),
      threads(state.at("threads")),
      shards(state.at("shards")) {
  for (const json& package : state.at("points")) points.emplace_back(package, "its package");
}

Evaluation::Evaluation(Run run, int64_t shard, size_t batches)
    : points(run.points.begin(), run.points.end()),
      run_(std::move(run)),
      shard_(shard),
      batches_(batches) {}

Evaluation Evaluation::read(const std::string& path, uint64_t max_bytes) {
  const json state = parsed(path, max_bytes);
  const std::string schema = state.is_object() ? state.value("schema", "") : "";
  if (schema != kSchema) {
    throw Error(path + " is no part of an evaluation: its schema is '" + schema + "', not " +
                kSchema);
  }
  try {
    Evaluation part(Run(state.at("run")), state.at("shard"), state.at("batches"));
    part.add_state(state, false);
    if (part.points.empty() || part.done > part.batches_ || part.shard_ < 1 ||
        part.shard_ > part.run_.shards) {
      throw Error("its numbers do not fit together");
    }
    return part;
  } catch (const std::exception& error) {  // of JSON, of ours
    throw Error(path + " is damaged: " + error.what());
  }
}

void Evaluation::write(const std::string& path, const std::string& command) const {
  json measured = json::array();
  for (const EvaluatedPoint& point : points) measured.push_back(point.state());
  const json state = {{"schema", kSchema},
                      {"command", command},
                      {"environment", environment(run_.seed)},
                      {"run", run_.state()},
                      {"shard", shard_},
                      {"batches", batches_},
                      {"done", done},
                      {"images", images},
                      {"skipped", skipped},
                      {"reference", reference.state()},
                      {"points", measured}};
  const std::string text = state.dump(-1, ' ', false, json::error_handler_t::replace);
  codec::write_file(path, {reinterpret_cast<const uint8_t*>(text.data()), text.size()});
}

void Evaluation::add_state(const json& state, bool at_once) {
  const json& measured = state.at("points");
  if (measured.size() != points.size()) throw Error("it has another number of points");
  for (size_t i = 0; i < points.size(); ++i) points[i].add(measured.at(i), at_once);
  reference.add(state.at("reference"));
  for (const json& name : state.at("skipped")) skipped.push_back(name);
  done += state.at("done").get<size_t>();
  images += state.at("images").get<size_t>();
}

void Evaluation::check_same(const Evaluation& other, const std::string& path) const {
  const json mine = run_.state(), others = other.run_.state();
  std::string differences;
  for (const auto& [key, words] : kWords) {
    if (mine.at(key) != others.at(key)) differences += (differences.empty() ? "" : ", ") + words;
  }
  if (differences.empty()) return;
  throw Error(path + " is of another evaluation: it differs in " + differences);
}

void Evaluation::add(const Evaluation& other) {
  json measured = json::array();
  for (const EvaluatedPoint& point : other.points) measured.push_back(point.state());
  add_state({{"points", measured},
             {"reference", other.reference.state()},
             {"skipped", other.skipped},
             {"done", other.done},
             {"images", other.images}},
            true);
  batches_ += other.batches_;
}

json Evaluation::result(const std::string& command) const {
  const Description& first = points.front().description();
  json dataset = {{"path", run_.path},
                  {"calibration_images", first.calibration_images},
                  {"evaluated_images", points.front().images()}};
  if (!skipped.empty()) {
    std::vector<std::string> names = skipped;
    std::ranges::sort(names);
    dataset["skipped"] = names;
  }
  json measured = json::array();
  for (const EvaluatedPoint& point : points) measured.push_back(point.result());
  json machine = environment(run_.seed);
  machine["threads"] = run_.threads;
  return {{"schema", "fmtc.result/3"},
          {"command", command},
          {"model", first.model},
          {"dataset", dataset},
          {"environment", machine},
          {"reference", {{"top1", reference.top1_share()}, {"top5", reference.top5_share()}}},
          {"points", measured}};
}

Evaluation merged(const std::vector<std::string>& paths, uint64_t max_bytes) {
  std::map<int64_t, std::pair<std::string, Evaluation>> parts;
  for (const std::string& path : paths) {
    Evaluation part = Evaluation::read(path, max_bytes);
    if (!part.finished()) {
      throw Error(path + " is not finished (" + std::to_string(part.done) + " of " +
                  std::to_string(part.batches()) + " batches): go on with --resume");
    }
    const int64_t shard = part.shard();
    const auto [place, is_new] = parts.try_emplace(shard, path, std::move(part));
    if (!is_new) {
      throw Error(path + " and " + place->second.first + " are the same shard, " +
                  std::to_string(shard));
    }
    place->second.second.check_same(parts.begin()->second.second, path);
  }
  Evaluation& all = parts.begin()->second.second;
  for (int64_t shard = 1; shard <= all.run().shards; ++shard) {
    if (parts.contains(shard)) continue;
    throw Error("shard " + std::to_string(shard) + " of " + std::to_string(all.run().shards) +
                " is missing");
  }
  for (auto part = std::next(parts.begin()); part != parts.end(); ++part) {
    all.add(part->second.second);
  }
  return std::move(all);
}

}  // namespace fmtc::infer
