#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "infer/description.h"
#include "infer/image.h"
#include "infer/labels.h"

namespace fmtc::infer {

// Where labels are, and how much is read.
struct DatasetOptions {
  std::string labels;       // a CSV file with the header file,label; empty: none
  std::string class_index;  // a file that maps an ImageFolder's folders to classes; empty: none
  int64_t max_pixels = kDefaultMaxPixels;  // of an image
  uint64_t max_bytes = uint64_t{1} << 32;  // of a file of labels or an .npz
};

// Images in the order that fmtc/data/datasets.py has them: a flat folder, an ImageFolder or an .npz
// with `images`, uint8 [N,C,H,W] or [N,H,W,C] with 1 or 3 channels, and perhaps `labels`.
class Dataset {
 public:
  // Errors are those of Python's open_dataset. Pixels are not looked at yet.
  Dataset(const std::string& path, const DatasetOptions& options);

  const std::string& path() const { return path_; }
  size_t size() const { return names_.size(); }
  const std::string& name(size_t index) const { return names_[index]; }
  bool has_labels() const { return !labels_.empty(); }
  int64_t label(size_t index) const { return labels_[index]; }

  // Error where the labels cannot be those of a classifier of so many classes.
  void check_classes(int64_t classes) const;

  // uint8 [C, H, W] of an image; files are read as RGB (channels 3) or grey (1). Error for one that
  // cannot be decoded.
  at::Tensor read(size_t index, int channels) const;

  // Error where not one of the images can be decoded.
  void require_readable(int channels) const;

  uint64_t stored_bytes(size_t index) const;  // 0 where it is gone
  Content content(size_t index) const;

 private:
  void open_folder(const DatasetOptions& options);
  void open_image_folder(const std::vector<std::string>& folders,
                         const std::vector<std::vector<std::string>>& members,
                         const DatasetOptions& options);
  void open_npz(const DatasetOptions& options);
  std::filesystem::path find(const std::string& file) const;

  std::string path_;
  int64_t max_pixels_;
  std::vector<std::string> names_;
  std::vector<int64_t> labels_;
  std::vector<std::string> folders_;  // classes of an ImageFolder without a class index
  at::Tensor pixels_;                 // of an .npz: uint8 [N, C, H, W]
};

// The images of an ImageFolder's class, relative to its folder, in torchvision's order: in it and
// below, also behind links, but for what is hidden.
std::vector<std::string> images_below(const std::filesystem::path& folder);

}  // namespace fmtc::infer
