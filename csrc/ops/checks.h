#pragma once

// What the operators share: checks whose errors name the operator, the argument, what was expected
// and what came, and spans over the contents of tensors.
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>
#include <torch/headeronly/util/Exception.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <span>
#include <string>

#include "core/status.h"

namespace fmtc::ops {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

// Whether an operator's work on a tensor is done by the CUDA kernels; see cuda/device.h. What needs
// the values of tensors on the CPU cannot be checked then.
inline bool on_device([[maybe_unused]] const Tensor& tensor) {
#if defined(FMTC_EMULATE_CUDA)
  return true;
#else
  return tensor.is_cuda();
#endif
}

// The name that Python shows: "float32" for Float.
inline const char* dtype_name(ScalarType dtype) {
  switch (dtype) {
    case ScalarType::Byte:
      return "uint8";
    case ScalarType::Short:
      return "int16";
    case ScalarType::Int:
      return "int32";
    case ScalarType::Long:
      return "int64";
    case ScalarType::Half:
      return "float16";
    case ScalarType::BFloat16:
      return "bfloat16";
    case ScalarType::Float:
      return "float32";
    case ScalarType::Double:
      return "float64";
    default:
      return torch::headeronly::toString(dtype);
  }
}

inline bool is_real(ScalarType dtype) {
  return dtype == ScalarType::Half || dtype == ScalarType::BFloat16 || dtype == ScalarType::Float ||
         dtype == ScalarType::Double;
}

// "[2, 3]"
inline std::string shape_text(const Tensor& tensor) {
  std::string text = "[";
  for (int64_t i = 0; i < tensor.dim(); ++i) {
    text += (i == 0 ? "" : ", ") + std::to_string(tensor.size(i));
  }
  return text + "]";
}

inline void check_dtype(const char* op, const char* argument, const Tensor& tensor,
                        ScalarType expected) {
  STD_TORCH_CHECK(tensor.scalar_type() == expected, "fmtc::", op, ": ", argument, " must be ",
                  dtype_name(expected), ", but is ", dtype_name(tensor.scalar_type()));
}

inline void check_real(const char* op, const char* argument, const Tensor& tensor) {
  STD_TORCH_CHECK(is_real(tensor.scalar_type()), "fmtc::", op, ": ", argument,
                  " must be float16, bfloat16, float32 or float64, but is ",
                  dtype_name(tensor.scalar_type()));
}

// The real dtype of this name.
inline ScalarType check_real_name(const char* op, const char* argument, const std::string& name) {
  for (const ScalarType dtype :
       {ScalarType::Half, ScalarType::BFloat16, ScalarType::Float, ScalarType::Double}) {
    if (name == dtype_name(dtype)) return dtype;
  }
  STD_TORCH_CHECK(false, "fmtc::", op, ": ", argument, " must be float16, bfloat16, float32 or ",
                  "float64, but is ", name);
}

// `layout` names the dimensions that are expected: "[T, L]".
inline void check_dim(const char* op, const char* argument, const Tensor& tensor, int64_t dim,
                      const char* layout) {
  STD_TORCH_CHECK(tensor.dim() == dim, "fmtc::", op, ": ", argument, " must have ", dim,
                  " dimensions ", layout, ", but has the shape ", shape_text(tensor));
}

inline void check_size(const char* op, const char* argument, const Tensor& tensor, int64_t dim,
                       int64_t expected, const char* why) {
  STD_TORCH_CHECK(tensor.size(dim) == expected, "fmtc::", op, ": dimension ", dim, " of ", argument,
                  " must be ", expected, " (", why, "), but its shape is ", shape_text(tensor));
}

inline void check_between(const char* op, const char* argument, int64_t value, int64_t low,
                          int64_t high) {
  STD_TORCH_CHECK(low <= value && value <= high, "fmtc::", op, ": ", argument, " must be from ",
                  low, " to ", high, ", but is ", value);
}

// An interval of levels, which are int16.
inline void check_interval(const char* op, int64_t lo, int64_t hi) {
  using Level = std::numeric_limits<int16_t>;
  check_between(op, "lo", lo, Level::min(), Level::max());
  check_between(op, "hi", hi, Level::min(), Level::max());
  STD_TORCH_CHECK(lo <= hi, "fmtc::", op, ": lo must not exceed hi, but lo is ", lo, " and hi is ",
                  hi);
}

// The step of a quantiser whose values are divided in `dtype`, float32 or float64.
inline void check_quantizer_step(const char* op, double step, ScalarType dtype) {
  const double rounded = dtype == ScalarType::Double ? step : static_cast<float>(step);
  STD_TORCH_CHECK(std::isfinite(rounded) && rounded > 0, "fmtc::", op,
                  ": step must be a positive finite number in ", dtype_name(dtype), ", but is ",
                  step);
}

inline void check_status(const char* op, Status status) {
  STD_TORCH_CHECK(status == Status::kOk, "fmtc::", op, ": ", message(status));
}

// The values of a contiguous tensor, which must outlive the span.
template <typename T>
std::span<const T> values(const Tensor& contiguous) {
  return {contiguous.const_data_ptr<T>(), static_cast<size_t>(contiguous.numel())};
}

template <typename T>
std::span<T> mutable_values(const Tensor& contiguous) {
  return {contiguous.mutable_data_ptr<T>(), static_cast<size_t>(contiguous.numel())};
}

// Row `index` of `size` values.
template <typename T>
std::span<T> row(std::span<T> all, int64_t index, int64_t size) {
  return all.subspan(static_cast<size_t>(index * size), static_cast<size_t>(size));
}

// An int64 tensor [size] of groups below num_groups, of components or the like.
inline void check_groups(const char* op, const Tensor& groups, int64_t size, const char* why,
                         int64_t num_groups) {
  check_dtype(op, "groups", groups, ScalarType::Long);
  check_dim(op, "groups", groups, 1, "[K]");
  check_size(op, "groups", groups, 0, size, why);
  check_between(op, "num_groups", num_groups, 0, std::numeric_limits<int32_t>::max());
}

// The values of a contiguous one: from 0 to num_groups - 1.
inline void check_group_values(const char* op, const Tensor& groups, int64_t num_groups) {
  const auto all = values<int64_t>(groups);
  for (size_t i = 0; i < all.size(); ++i) {
    STD_TORCH_CHECK(0 <= all[i] && all[i] < num_groups, "fmtc::", op,
                    ": groups must be from 0 to num_groups - 1 = ", num_groups - 1,
                    ", but component ", i, " has ", all[i]);
  }
}

// The tensor itself where it is contiguous, or of this dtype: asking torch costs a microsecond, and
// a coding point has a dozen tensors.
inline Tensor contiguous_of(const Tensor& tensor) {
  return tensor.is_contiguous() ? tensor : torch::stable::contiguous(tensor);
}
inline Tensor converted(const Tensor& tensor, ScalarType dtype) {
  return tensor.scalar_type() == dtype ? tensor : torch::stable::to(tensor, dtype);
}

inline Tensor scalar(int64_t value) {
  const Tensor result = torch::stable::empty({}, ScalarType::Long);
  *result.mutable_data_ptr<int64_t>() = value;
  return result;
}

}  // namespace fmtc::ops
