#include "codec/file.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <string>

namespace fmtc::codec {
namespace {

namespace fs = std::filesystem;

[[noreturn]] void fail_to_write(const fs::path& path) {
  throw Error(path.string() + " cannot be written");
}

// The permissions of a new file; mkstemp makes a private one.
mode_t usual_mode() {
  const mode_t mask = umask(0);
  umask(mask);
  return 0666 & ~mask;
}

// The file that a path stands for, also where a link leads to one that is not there yet.
fs::path behind_links(fs::path path) {
  constexpr int kMostLinks = 40;
  std::error_code error;
  for (int i = 0; fs::is_symlink(path, error); ++i) {
    const fs::path to = fs::read_symlink(path, error);
    if (error || i == kMostLinks) fail_to_write(path);
    path = path.parent_path() / to;
  }
  return path;
}

bool write_all(int file, std::span<const uint8_t> bytes) {
  while (!bytes.empty()) {
    const ssize_t written = write(file, bytes.data(), bytes.size());
    if (written <= 0) return false;
    bytes = bytes.subspan(static_cast<size_t>(written));
  }
  return true;
}

// A temporary file in a folder, removed where it was not kept under another name.
class TemporaryFile {
 public:
  explicit TemporaryFile(const fs::path& folder)
      : name_((folder / ".fmtc-XXXXXX").string()), file_(mkstemp(name_.data())) {}
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;
  ~TemporaryFile() {
    if (file_ < 0) return;
    close(file_);
    if (!kept_) unlink(name_.c_str());
  }

  bool fill(std::span<const uint8_t> bytes) const {
    return file_ >= 0 && write_all(file_, bytes) && fsync(file_) == 0 &&
           fchmod(file_, usual_mode()) == 0;
  }
  bool keep_as(const fs::path& path) {
    kept_ = std::rename(name_.c_str(), path.c_str()) == 0;
    return kept_;
  }

 private:
  std::string name_;
  int file_;
  bool kept_ = false;
};

}  // namespace

uint64_t file_bytes(const fs::path& path, uint64_t max_bytes) {
  std::error_code error;
  const uintmax_t size = fs::file_size(path, error);
  if (error) throw Error(path.string() + " cannot be read: " + error.message());
  if (!fs::is_regular_file(path, error)) throw Error(path.string() + " cannot be read: no file");
  if (size > max_bytes) {
    throw Error(path.string() + " has " + std::to_string(size) + " bytes, more than --max-bytes " +
                std::to_string(max_bytes));
  }
  return size;
}

std::vector<uint8_t> read_file(const fs::path& path, uint64_t max_bytes) {
  const uint64_t size = file_bytes(path, max_bytes);
  std::vector<uint8_t> bytes(static_cast<size_t>(size));
  std::ifstream file(path, std::ios::binary);
  file.read(reinterpret_cast<char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  if (!file) throw Error(path.string() + " cannot be read");
  return bytes;
}

void write_file(const fs::path& path, std::span<const uint8_t> bytes) {
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  if (fs::exists(status) && !fs::is_regular_file(status)) {
    std::ofstream file(path, std::ios::binary);
    file.write(reinterpret_cast<const char*>(bytes.data()),
               static_cast<std::streamsize>(bytes.size()));
    file.close();
    if (!file) fail_to_write(path);
    return;
  }
  const fs::path target = behind_links(path);
  const fs::path folder = target.parent_path();
  TemporaryFile file(folder.empty() ? fs::path(".") : folder);
  if (!file.fill(bytes) || !file.keep_as(target)) fail_to_write(path);
}

}  // namespace fmtc::codec
