#include "codec/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <fstream>
#include <random>
#include <string>
#include <system_error>

namespace fmtc::codec {
namespace {

namespace fs = std::filesystem;

[[noreturn]] void fail_to_write(const fs::path& path, int error) {
  throw Error(path.string() + " cannot be written: " + std::generic_category().message(error));
}

// The number of the open file of this process that a path stands for, as /dev/stdout does; -1 for
// others.
int descriptor_of(const fs::path& path) {
  std::error_code error;
  const fs::path folder = path.parent_path();
  const std::string name = path.filename().string();
  const bool is_number =
      !name.empty() && std::ranges::all_of(name, [](char c) { return c >= '0' && c <= '9'; });
  if (!is_number || name.size() > 9) return -1;
  const fs::path open_files = "/proc/" + std::to_string(getpid()) + "/fd";
  return fs::canonical(folder, error) == open_files && !error ? std::stoi(name) : -1;
}

// What a path stands for: a file, also where a link leads to one that is not there yet, or one of
// this process that is open.
struct Target {
  fs::path path;
  int descriptor = -1;
};

Target behind_links(const fs::path& path) {
  constexpr int kMostLinks = 40;
  std::error_code error;
  Target target = {path, descriptor_of(path)};
  for (int i = 0; target.descriptor < 0 && fs::is_symlink(target.path, error); ++i) {
    const fs::path to = fs::read_symlink(target.path, error);
    if (error || i == kMostLinks) fail_to_write(path, error ? error.value() : ELOOP);
    target.path = target.path.parent_path() / to;
    target.descriptor = descriptor_of(target.path);
  }
  return target;
}

// False, and errno says why, where not all was written.
bool write_all(int file, std::span<const uint8_t> bytes) {
  while (!bytes.empty()) {
    const ssize_t written = write(file, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return false;
    bytes = bytes.subspan(static_cast<size_t>(written));
  }
  return true;
}

// A device, a pipe, or what is open already.
void write_into(const Target& target, std::span<const uint8_t> bytes) {
  const int file = target.descriptor >= 0 ? dup(target.descriptor)
                                          : open(target.path.c_str(), O_WRONLY | O_CLOEXEC);
  if (file < 0) fail_to_write(target.path, errno);
  const int error = write_all(file, bytes) ? 0 : errno;
  if (close(file) != 0 || error != 0) fail_to_write(target.path, error != 0 ? error : errno);
}

// A temporary file in a folder, removed where it was not kept under another name. What fails
// leaves the reason in errno.
class TemporaryFile {
 public:
  explicit TemporaryFile(const fs::path& folder) : name_((folder / random_name()).string()) {
    file_ = open(name_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  }
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;
  ~TemporaryFile() {
    if (file_ < 0) return;
    close(file_);
    if (!kept_) unlink(name_.c_str());
  }

  bool exists() const { return file_ >= 0; }
  bool set_mode(mode_t mode) const { return fchmod(file_, mode) == 0; }
  bool fill(std::span<const uint8_t> bytes) const {
    return write_all(file_, bytes) && fsync(file_) == 0;
  }
  bool keep_as(const fs::path& path) {
    kept_ = std::rename(name_.c_str(), path.c_str()) == 0;
    return kept_;
  }

 private:
  static std::string random_name() {
    std::random_device random;
    return ".fmtc-" + std::to_string(random()) + "-" + std::to_string(random());
  }

  std::string name_;
  int file_ = -1;
  bool kept_ = false;
};

// Whether the file exists; error where it may not be written.
bool check_earlier(const fs::path& path, struct stat& earlier) {
  const bool exists = stat(path.c_str(), &earlier) == 0;
  if (exists && faccessat(AT_FDCWD, path.c_str(), W_OK, AT_EACCESS) != 0)
    fail_to_write(path, errno);
  return exists;
}

fs::path folder_of(const fs::path& path) {
  const fs::path folder = path.parent_path();
  return folder.empty() ? fs::path(".") : folder;
}

// A device, a pipe, or what names an open file.
bool is_special(const fs::path& path) {
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  return fs::exists(status) && !fs::is_regular_file(status);
}

void replace(const fs::path& path, std::span<const uint8_t> bytes) {
  struct stat earlier = {};
  const bool exists = check_earlier(path, earlier);
  TemporaryFile file(folder_of(path));
  if (!file.exists() || (exists && !file.set_mode(earlier.st_mode & 07777)) || !file.fill(bytes) ||
      !file.keep_as(path)) {
    fail_to_write(path, errno);
  }
}

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

void require_writable(const fs::path& path) {
  std::error_code error;
  if (path.empty()) throw Error("the file to be written has no name: give one");
  if (fs::is_directory(path, error)) {
    throw Error(path.string() + " cannot be written: it is a folder; name a file");
  }
  const Target target = behind_links(path);
  if (is_special(path) || target.descriptor >= 0) return;
  const fs::path folder = folder_of(target.path);
  if (!fs::is_directory(folder, error)) throw Error(folder.string() + " is no folder");
  struct stat earlier = {};
  check_earlier(target.path, earlier);
  if (!TemporaryFile(folder).exists()) fail_to_write(path, errno);
}

void write_file(const fs::path& path, std::span<const uint8_t> bytes) {
  const bool special = is_special(path);
  Target target = behind_links(path);
  if (special && target.descriptor < 0) target.path = path;  // as the system resolves it
  if (special || target.descriptor >= 0) return write_into(target, bytes);
  replace(target.path, bytes);
}

void check_printed() {
  if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0) fail_to_write("standard output", errno);
}

}  // namespace fmtc::codec
