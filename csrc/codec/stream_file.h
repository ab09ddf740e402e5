#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <span>
#include <string>
#include <vector>

#include "core/bundle.h"
#include "core/stream.h"

namespace fmtc::codec {

// A file of streams: a bundle; or streams back to back, an image each, as they were written before
// there were bundles. What a file says of its size is checked against the file's before anything
// is allocated by it, and no stream is read that is not asked for.
class StreamFile {
 public:
  // Reads the head of a bundle, or where the streams of another file begin. Error for any other
  // file, for one that is cut or too long, and for one of more than max_bytes bytes.
  StreamFile(std::filesystem::path path, uint64_t max_bytes);

  bool is_bundle() const { return bundle_; }
  uint64_t bytes() const { return bytes_; }
  uint64_t head_bytes() const { return head_bytes_; }
  size_t images() const { return streams_.size() / names_.size(); }
  // Of the tensors; of streams back to back one without a name.
  const std::vector<std::string>& names() const { return names_; }

  // Which tensor has this name; with an empty one the only tensor there is, whatever its name, or
  // that which is called `fallback`. Error where there is none.
  size_t tensor(const std::string& name, const std::string& fallback) const;

  // One stream, and its header. Error where it is damaged.
  std::vector<uint8_t> stream(size_t image, size_t tensor, StreamHeader& header);
  // The streams of all images, back to back.
  std::vector<uint8_t> streams(size_t tensor);

 private:
  void open_bundle();
  void open_streams();
  std::vector<uint8_t> read(uint64_t begin, uint64_t size);
  [[noreturn]] void fail(const std::string& what) const;

  std::filesystem::path path_;
  std::ifstream file_;
  uint64_t bytes_ = 0;
  uint64_t head_bytes_ = 0;
  bool bundle_ = false;
  std::vector<std::string> names_;
  std::vector<BundleStream> streams_;  // image after image, and for each its tensors
};

// The bundle of one tensor of this name. `streams`: good ones back to back, an image each.
std::vector<uint8_t> make_bundle(std::span<const uint8_t> streams, const std::string& name);

}  // namespace fmtc::codec
