#pragma once

#include <string>
#include <string_view>

namespace fmtc::infer {

inline constexpr const char* kJson = "application/json";
inline constexpr const char* kNpy = "application/x-npy";

// The format that an Accept header prefers of those that there are (accepted() of
// fmtc/deploy/serve.py); empty where it takes none.
std::string accepted(std::string_view header);

}  // namespace fmtc::infer
