#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>

namespace fmtc::infer {

// Versions, machine, threads and seed, as the result schema has them.
nlohmann::json environment(std::optional<int64_t> seed = std::nullopt);

// Every run of a network takes tensors of the same sizes. What one frees stays with the process for
// the next: to map and clear the pages anew costs as much as half the network.
void keep_freed_memory();

}  // namespace fmtc::infer
