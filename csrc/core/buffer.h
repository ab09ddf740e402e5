#pragma once

#include <cstddef>
#include <memory>
#include <span>

namespace fmtc {

// Numbers that a thread works with between two calls of anything: kept from call to call, as pages
// that a process touches for the first time cost more than what is done with them, and as long as
// they are few.
template <typename T>
class Buffer {
 public:
  // Bytes that are kept.
  static constexpr size_t kMostKept = size_t{8} << 20;

  // `size` numbers without contents, until the next call. May throw std::bad_alloc.
  std::span<T> take(size_t size) {
    if (size > capacity_ || (capacity_ > kKept && size <= kKept)) {
      capacity_ = 0;
      data_.reset();
      data_ = std::make_unique_for_overwrite<T[]>(size);
      capacity_ = size;
    }
    return {data_.get(), size};
  }

 private:
  static constexpr size_t kKept = kMostKept / sizeof(T);

  std::unique_ptr<T[]> data_;
  size_t capacity_ = 0;
};

}  // namespace fmtc
