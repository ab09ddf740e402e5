#include "codec/stream_file.h"

#include <algorithm>
#include <utility>

#include "codec/array.h"
#include "codec/file.h"
#include "core/stream_fields.h"

namespace fmtc::codec {
namespace {

std::string in_quotes(const std::string& name) { return "'" + name + "'"; }

}  // namespace

StreamFile::StreamFile(std::filesystem::path path, uint64_t max_bytes) : path_(std::move(path)) {
  bytes_ = file_bytes(path_, max_bytes);
  file_.open(path_, std::ios::binary);
  if (bytes_ == 0) fail("the file is empty: not even a bundle of no images is so short");
  bundle_ = fmtc::is_bundle(read(0, std::min<uint64_t>(bytes_, 2)));
  bundle_ ? open_bundle() : open_streams();
}

void StreamFile::open_bundle() {
  const auto check = [this](Status status) {
    if (status != Status::kOk) fail(bundle_message(status));
  };
  BundleHeader header;
  const auto fields = read(0, std::min<uint64_t>(bytes_, kMaxBundleFieldBytes));
  check(read_bundle_fields(fields, header));
  if (bytes_ < header.head_bytes()) check(Status::kTruncated);
  const auto head = read(0, header.head_bytes());
  uint64_t size = 0;
  check(read_bundle_head(head, header, size));
  if (bytes_ < size) {
    fail(std::string(bundle_message(Status::kTruncated)) + " (" + std::to_string(bytes_) + " of " +
         std::to_string(size) + " bytes are there)");
  }
  if (bytes_ > size) check(Status::kTrailingBytes);
  head_bytes_ = head.size();
  for (uint32_t t = 0; t < header.tensors; ++t) names_.emplace_back(bundle_name(header, head, t));
  streams_.resize(static_cast<size_t>(header.streams()));
  list_streams(header, head, streams_);
}

void StreamFile::open_streams() {
  names_.emplace_back();
  for (uint64_t begin = 0; begin < bytes_; begin += streams_.back().size) {
    const uint64_t left = bytes_ - begin;
    StreamHeader header;
    Status status = load_fields(read(begin, std::min<uint64_t>(left, kMaxFieldBytes)), header);
    const uint64_t size =
        status == Status::kOk ? uint64_t{payload_offset(header)} + header.payload : 0;
    if (status == Status::kOk && size > left) status = Status::kTruncated;
    if (status == Status::kOk && size > UINT32_MAX) status = Status::kTooLarge;
    if (status != Status::kOk) {
      fail("stream " + std::to_string(streams_.size()) + ": " + message(status));
    }
    streams_.push_back({begin, static_cast<uint32_t>(size), 0});
  }
}

size_t StreamFile::tensor(const std::string& name, const std::string& fallback) const {
  if (name.empty() && names_.size() == 1) return 0;
  const auto found = std::ranges::find(names_, name.empty() ? fallback : name);
  if (found != names_.end()) return static_cast<size_t>(found - names_.begin());
  std::string known;
  for (const std::string& each : names_) known += "\n  " + in_quotes(each);
  fail((name.empty() ? "it holds several tensors; name one with --name:"
                     : "there is no tensor " + in_quotes(name) + "; it has:") +
       known);
}

std::vector<uint8_t> StreamFile::stream(size_t image, size_t tensor, StreamHeader& header) {
  const BundleStream& place = streams_[image * names_.size() + tensor];
  auto bytes = read(place.begin, place.size);
  size_t size = 0;
  Status status = bundle_ ? check_stream(bytes, place) : Status::kOk;
  if (status == Status::kOk) status = read_header(bytes, header, size);
  if (status == Status::kOk && size != bytes.size()) status = Status::kTrailingBytes;
  if (status == Status::kOk) return bytes;
  const std::string which =
      bundle_ ? "image " + std::to_string(image) + " of tensor " + in_quotes(names_[tensor])
              : "stream " + std::to_string(image);
  fail(which + ": " + message(status));
}

std::vector<uint8_t> StreamFile::streams(size_t tensor) {
  std::vector<uint8_t> all;
  StreamHeader header;
  uint64_t size = 0;
  for (size_t i = tensor; i < streams_.size(); i += names_.size()) size += streams_[i].size;
  all.reserve(static_cast<size_t>(size));
  for (size_t image = 0; image < images(); ++image) {
    const auto bytes = stream(image, tensor, header);
    all.insert(all.end(), bytes.begin(), bytes.end());
  }
  return all;
}

std::vector<uint8_t> StreamFile::read(uint64_t begin, uint64_t size) {
  std::vector<uint8_t> bytes(static_cast<size_t>(size));
  file_.seekg(static_cast<std::streamoff>(begin));
  file_.read(reinterpret_cast<char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  if (!file_) throw Error(path_.string() + " cannot be read");
  return bytes;
}

void StreamFile::fail(const std::string& what) const { throw Error(path_.string() + ": " + what); }

std::vector<uint8_t> make_bundle(std::span<const uint8_t> streams, const std::string& name) {
  std::vector<std::span<const uint8_t>> each;
  while (!streams.empty()) {
    StreamHeader header;
    size_t size = 0;
    if (const Status status = read_header(streams, header, size); status != Status::kOk) {
      throw Error(message(status));
    }
    each.push_back(streams.first(size));
    streams = streams.subspan(size);
  }
  const std::string_view view = name;
  uint64_t bytes = 0;
  Status status = bundle_size(std::span(&view, 1), each, bytes);
  std::vector<uint8_t> bundle(status == Status::kOk ? static_cast<size_t>(bytes) : 0);
  size_t used = 0;
  if (status == Status::kOk) status = write_bundle(std::span(&view, 1), each, bundle, used);
  if (status != Status::kOk) throw Error(bundle_message(status));
  return bundle;
}

}  // namespace fmtc::codec
