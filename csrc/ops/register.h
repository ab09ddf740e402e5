#pragma once

// FMTC_REGISTER(name) registers the function `name` as the operator of that name, for CPU tensors
// and, where they are built, for CUDA tensors.
#include <torch/csrc/stable/library.h>

#define FMTC_REGISTER_FOR(key, name) \
  STABLE_TORCH_LIBRARY_IMPL(FMTC_LIBRARY, key, m) { m.impl(#name, TORCH_BOX(&name)); }
#if defined(FMTC_WITH_CUDA) && !defined(FMTC_EMULATE_CUDA)
#define FMTC_REGISTER(name) FMTC_REGISTER_FOR(CPU, name) FMTC_REGISTER_FOR(CUDA, name)
#else
#define FMTC_REGISTER(name) FMTC_REGISTER_FOR(CPU, name)
#endif
