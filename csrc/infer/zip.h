#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace fmtc::infer {

// The files in a ZIP archive in memory, as NumPy writes .npz: stored or deflated, of less than 4
// GiB (APPNOTE.TXT of PKWARE, 4.3).
class ZipArchive {
 public:
  // bytes: must outlive this. Error for what is no such archive, or is damaged.
  explicit ZipArchive(std::span<const uint8_t> bytes);

  std::vector<std::string> names() const;
  bool has(const std::string& name) const;
  uint64_t unpacked_bytes() const;  // of all files, as the archive says
  // Error where there is none of this name, or its bytes are damaged.
  std::vector<uint8_t> read(const std::string& name) const;

 private:
  struct Member {
    std::string name;
    uint16_t method = 0;
    uint32_t crc = 0;
    uint64_t packed = 0, unpacked = 0, offset = 0;
  };

  std::span<const uint8_t> part(uint64_t begin, uint64_t size) const;
  Member member_at(uint64_t& at) const;

  std::span<const uint8_t> bytes_;
  std::vector<Member> members_;
};

}  // namespace fmtc::infer
