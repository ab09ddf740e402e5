#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <vector>

#include "codec/error.h"

namespace fmtc::codec {

// What readers take of a file unless they are told otherwise; fmtc/limits.py has the same.
inline constexpr uint64_t kDefaultMaxBytes = uint64_t{1} << 32;

// The size of a file, of at most max_bytes bytes. Error where there is none, it is larger, or no
// regular file.
uint64_t file_bytes(const std::filesystem::path& path, uint64_t max_bytes);

// All bytes of such a file.
std::vector<uint8_t> read_file(const std::filesystem::path& path, uint64_t max_bytes);

// Writes a file as a whole or not at all, under a temporary name in the same folder and then
// renamed. A symbolic link stays one: what it points to is replaced. A file that is replaced keeps
// its permissions, and is refused where these forbid writing. A device or pipe, and what names an
// open file (/dev/stdout), is written into. Error where that fails. fmtc/files.py does the same.
void write_file(const std::filesystem::path& path, std::span<const uint8_t> bytes);

// Error where it is known before that write_file would fail: no name, a folder, or in a folder that
// is not there or takes no files.
void require_writable(const std::filesystem::path& path);

// Error where what was printed could not be written, as on a full disk.
void check_printed();

}  // namespace fmtc::codec
