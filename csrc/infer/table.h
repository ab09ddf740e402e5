#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace fmtc::infer {

// The table of a result of schema fmtc.result/3, letter by letter as fmtc/results/console.py prints
// it where the output is no terminal: a row a point, with rates in bits a value, what they save,
// and what they cost in accuracy.
std::string result_table(const nlohmann::json& result);

}  // namespace fmtc::infer
