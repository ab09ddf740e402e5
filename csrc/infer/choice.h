#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "infer/dataset.h"

namespace fmtc::infer {

// 0 ... count - 1 in the order of numpy.random.RandomState(seed).permutation(count), which NumPy
// keeps for ever: a choice of images is part of a result.
std::vector<size_t> permutation(uint32_t seed, size_t count);

// What of a data set is evaluated.
struct Choice {
  std::vector<size_t> images;  // indices, in their order
  size_t left_out = 0;         // images that are among those of calibration
};

// As split in fmtc/data/datasets.py chooses for a seed: the images of the permutation that are not
// for calibration, all or the first so many. Those for calibration are known by what is stored of
// them, under any name. Error where there are too few.
Choice choose(const Dataset& dataset, std::vector<Content> calibration,
              std::optional<size_t> images, uint32_t seed);

}  // namespace fmtc::infer
