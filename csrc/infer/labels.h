#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

namespace fmtc::infer {

// Images and their labels.
struct Labelled {
  std::vector<std::string> names;  // files relative to a folder
  std::vector<int64_t> labels;     // class indices
};

// Those of a CSV file with the header file,label, as read_label_file in fmtc/data/labels.py; "./a"
// is "a". Error names the file and, where it can, the line: another header, an image that is not in
// the folder or listed twice, a label that is no class index.
Labelled read_label_file(const std::filesystem::path& file, const std::filesystem::path& folder,
                         uint64_t max_bytes);

// Folder name -> class index, from JSON or CSV, as read_class_index there: {"n01440764": 0, ...} or
// {"0": ["n01440764", "tench"], ...}; folder,index in each line, with or without a header. Error
// names the file.
std::map<std::string, int64_t> read_class_index(const std::filesystem::path& file,
                                                uint64_t max_bytes);

}  // namespace fmtc::infer
