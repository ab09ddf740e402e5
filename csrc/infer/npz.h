#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <vector>

namespace fmtc::infer {

struct NpzImages {
  at::Tensor pixels;            // uint8 [N, C, H, W]
  std::vector<int64_t> labels;  // of each, or empty
};

// The arrays `images` and `labels` of an .npz, as fmtc/data/datasets.py reads them. Error, without
// the file's name, for what is none, is larger than max_bytes, or arrays that do not fit.
NpzImages read_npz(const std::filesystem::path& path, uint64_t max_bytes);

}  // namespace fmtc::infer
