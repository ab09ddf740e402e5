#include "infer/dataset.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <array>

#include "codec/file.h"
#include "core/crc32.h"
#include "infer/image.h"
#include "infer/npz.h"
#include "infer/preprocess.h"

namespace fmtc::infer {
namespace {

namespace fs = std::filesystem;

// As in Python, which decodes all of them; here it is JPEG and PNG, and the others are skipped.
constexpr std::array kSuffixes = {".jpg", ".jpeg", ".png", ".bmp",  ".gif",
                                  ".ppm", ".pgm",  ".tif", ".tiff", ".webp"};

std::string lower(std::string text) {
  std::ranges::transform(text, text.begin(), [](unsigned char c) { return std::tolower(c); });
  return text;
}

bool hidden(const std::string& name) { return name.starts_with('.'); }

bool is_image(const fs::directory_entry& entry) {
  const std::string name = entry.path().filename(), small = lower(name);
  const bool named = std::ranges::any_of(kSuffixes, [&](auto end) { return small.ends_with(end); });
  return named && !hidden(name) && entry.is_regular_file();
}

std::vector<std::string> image_names(const fs::path& folder) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (is_image(entry)) names.push_back(entry.path().filename());
  }
  std::ranges::sort(names);
  return names;
}

std::vector<std::string> folder_names(const fs::path& folder) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder)) {
    const std::string name = entry.path().filename();
    if (!hidden(name) && entry.is_directory()) names.push_back(name);
  }
  std::ranges::sort(names);
  return names;
}

// Whether the path is the folder itself or below it, both without links.
bool inside(const fs::path& path, const fs::path& folder) {
  return std::mismatch(folder.begin(), folder.end(), path.begin(), path.end()).first ==
         folder.end();
}

// Folders below a folder, relative to it ("" is itself). Links are followed, but into none of the
// folders that they are in.
void add_folders(const fs::path& folder, const std::string& relative,
                 std::vector<std::string>& found) {
  found.push_back(relative);
  const fs::path here = folder / relative, real = fs::weakly_canonical(here);
  for (const std::string& name : folder_names(here)) {
    if (inside(real, fs::weakly_canonical(here / name))) continue;
    add_folders(folder, relative.empty() ? name : relative + "/" + name, found);
  }
}

template <typename T>
std::string joined(const T& texts, const char* between) {
  std::string text;
  for (const std::string_view each : texts) (text += text.empty() ? "" : between) += each;
  return text;
}

// As Python shows a path: without "." and slashes at the end.
std::string shown(const fs::path& path) {
  fs::path parts;
  for (const fs::path& part : path) {
    if (!part.empty() && part != ".") parts /= part;
  }
  return parts.empty() ? "." : parts.string();
}

}  // namespace

std::vector<std::string> images_below(const fs::path& folder) {
  std::vector<std::string> folders, images;
  add_folders(folder, "", folders);
  // Sorted as texts, as os.walk's folders are in Python.
  std::ranges::sort(folders);
  for (const std::string& below : folders) {
    for (const std::string& name : image_names(folder / below)) {
      images.push_back(below.empty() ? name : below + "/" + name);
    }
  }
  return images;
}

Dataset::Dataset(const std::string& path, const DatasetOptions& options)
    : path_(shown(path)), max_pixels_(options.max_pixels) {
  if (fs::is_directory(path_)) {
    open_folder(options);
  } else if (!fs::exists(path_)) {
    throw Error("no such file or folder: " + path_);
  } else if (lower(fs::path(path_).extension()) == ".npz") {
    open_npz(options);
  } else {
    throw Error(path_ + " is neither a folder of images nor an .npz file");
  }
}

// `file` as given or, where there is none, inside the folder.
fs::path Dataset::find(const std::string& file) const {
  const fs::path inside = fs::path(path_) / file;
  if (fs::is_regular_file(file)) return file;
  if (fs::is_regular_file(inside)) return inside;
  throw Error("no such file: " + file + " (nor " + inside.string() + ")");
}

void Dataset::open_folder(const DatasetOptions& options) {
  if (!options.labels.empty()) {
    Labelled found = read_label_file(find(options.labels), path_, options.max_bytes);
    names_ = std::move(found.names);
    labels_ = std::move(found.labels);
    return;
  }
  const std::vector<std::string> flat = image_names(path_), folders = folder_names(path_);
  std::vector<std::vector<std::string>> members;
  for (const std::string& folder : folders) {
    members.push_back(images_below(fs::path(path_) / folder));
  }
  const bool any = std::ranges::any_of(members, [](const auto& of) { return !of.empty(); });
  if (!flat.empty() && any) {
    throw Error(path_ + " has images (" + flat.front() +
                ") beside subfolders with images; give a folder of images, or one subfolder a "
                "class");
  }
  if (any) return open_image_folder(folders, members, options);
  if (flat.empty()) throw Error(path_ + ": no image files (" + joined(kSuffixes, ", ") + ")");
  if (!options.class_index.empty()) {
    throw Error(path_ + " has no class folders for the class index " + options.class_index +
                " to map");
  }
  names_ = flat;
}

void Dataset::open_image_folder(const std::vector<std::string>& folders,
                                const std::vector<std::vector<std::string>>& members,
                                const DatasetOptions& options) {
  std::vector<std::string> empty;
  for (size_t i = 0; i < folders.size(); ++i) {
    if (members[i].empty()) empty.push_back(folders[i]);
  }
  if (!empty.empty()) {
    throw Error(path_ + ": no image in the class folder " + joined(empty, ", ") + "; remove it");
  }
  std::map<std::string, int64_t> classes;
  if (options.class_index.empty()) {
    folders_ = folders;
  } else {
    classes = read_class_index(find(options.class_index), options.max_bytes);
  }
  for (size_t i = 0; i < folders.size(); ++i) {
    if (!options.class_index.empty() && !classes.contains(folders[i])) {
      throw Error(options.class_index + " has no class index for the folder '" + folders[i] + "'");
    }
    const int64_t label =
        options.class_index.empty() ? static_cast<int64_t>(i) : classes.at(folders[i]);
    for (const std::string& file : members[i]) {
      names_.push_back(folders[i] + "/" + file);
      labels_.push_back(label);
    }
  }
}

void Dataset::open_npz(const DatasetOptions& options) {
  if (!options.labels.empty() || !options.class_index.empty()) {
    throw Error(path_ + ": an .npz carries its own labels; leave out the label options");
  }
  try {
    NpzImages found = read_npz(path_, options.max_bytes);
    pixels_ = std::move(found.pixels);
    labels_ = std::move(found.labels);
  } catch (const std::runtime_error& error) {
    throw Error(path_ + ": " + error.what());
  }
  for (int64_t i = 0; i < pixels_.size(0); ++i) names_.push_back(std::to_string(i));
}

void Dataset::check_classes(int64_t classes) const {
  if (!folders_.empty() && static_cast<int64_t>(folders_.size()) != classes) {
    throw Error(path_ + " has " + std::to_string(folders_.size()) +
                " class folders, the model has " + std::to_string(classes) +
                " classes; map the folders to class indices with a class index (--class-index "
                "FILE)");
  }
  for (size_t i = 0; i < labels_.size(); ++i) {
    if (labels_[i] >= 0 && labels_[i] < classes) continue;
    throw Error(path_ + ": " + names_[i] + " has label " + std::to_string(labels_[i]) +
                ", outside 0..." + std::to_string(classes - 1));
  }
}

at::Tensor Dataset::read(size_t index, int channels) const {
  if (pixels_.defined()) return pixels_[static_cast<int64_t>(index)];
  return to_tensor(read_image(fs::path(path_) / names_[index], channels, max_pixels_));
}

void Dataset::require_readable(int channels) const {
  for (size_t i = 0; i < size(); ++i) {
    try {
      read(i, channels);
      return;
    } catch (const std::exception&) {
    }
  }
  throw Error(path_ + ": no readable image among " + std::to_string(size()) + " files");
}

uint64_t Dataset::stored_bytes(size_t index) const {
  if (pixels_.defined()) return static_cast<uint64_t>(pixels_[static_cast<int64_t>(index)].numel());
  std::error_code none;
  const uint64_t bytes = fs::file_size(fs::path(path_) / names_[index], none);
  return none ? 0 : bytes;
}

Content Dataset::content(size_t index) const {
  if (pixels_.defined()) {
    const at::Tensor image = pixels_[static_cast<int64_t>(index)].contiguous();
    const auto size = static_cast<size_t>(image.numel());
    return {size, crc32({image.const_data_ptr<uint8_t>(), size})};
  }
  const std::vector<uint8_t> bytes =
      codec::read_file(fs::path(path_) / names_[index], codec::kDefaultMaxBytes);
  return {bytes.size(), crc32(bytes)};
}

}  // namespace fmtc::infer
