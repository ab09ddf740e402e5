#include "infer/choice.h"

#include <algorithm>
#include <bit>
#include <numeric>
#include <random>
#include <set>

#include "infer/image.h"

namespace fmtc::infer {

std::vector<size_t> permutation(uint32_t seed, size_t count) {
  // Both are Matsumoto and Nishimura's MT19937, seeded as their init_genrand does.
  std::mt19937 generator(seed);
  // A number from 0 to most: NumPy draws bits until they are one (random_interval).
  const auto draw = [&](uint32_t most) {
    const uint32_t mask = most == 0 ? 0 : std::bit_ceil(most + uint64_t{1}) - 1;
    uint32_t value;
    do {
      value = static_cast<uint32_t>(generator()) & mask;
    } while (value > most);
    return value;
  };
  std::vector<size_t> order(count);
  std::iota(order.begin(), order.end(), size_t{0});
  for (size_t i = count; i-- > 1;) std::swap(order[i], order[draw(static_cast<uint32_t>(i))]);
  return order;
}

Choice choose(const Dataset& dataset, std::vector<Content> calibration,
              std::optional<size_t> images, uint32_t seed) {
  const std::set<Content> known(calibration.begin(), calibration.end());
  std::set<uint64_t> sizes;
  for (const Content& each : known) sizes.insert(each.bytes);
  Choice choice;
  for (const size_t index : permutation(seed, dataset.size())) {
    // Only what has the size of one is read.
    if (sizes.contains(dataset.stored_bytes(index)) && known.contains(dataset.content(index))) {
      ++choice.left_out;
    } else {
      choice.images.push_back(index);
    }
  }
  const size_t wanted = images.value_or(1);
  if (choice.images.size() < wanted) {
    const std::string rest = images ? std::to_string(*images) : "at least 1";
    throw Error(dataset.path() + " has " + std::to_string(dataset.size()) +
                " images: too few for " + std::to_string(choice.left_out) + " to calibrate and " +
                rest + " other to evaluate");
  }
  if (images) choice.images.resize(*images);
  return choice;
}

}  // namespace fmtc::infer
