#pragma once

// FMTC_MULTIVERSION before a function definition compiles it once for each x86-64 level and lets
// the loader pick at run time, so that one binary serves all CPUs without -march flags. Use it on
// plain loops that auto-vectorise; helpers they call must be inlined to profit. Sanitizers cannot
// instrument the resolvers, which run before their runtime is set up, so there it is empty.
#include <cstddef>  // says whether there is glibc

#if defined(__x86_64__) && defined(__gnu_linux__) && defined(__GLIBC__) && defined(__GNUC__) && \
    !defined(__clang__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#if __GNUC__ >= 12
#define FMTC_HAS_MULTIVERSION 1
#define FMTC_MULTIVERSION \
  __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#endif
#endif
#ifndef FMTC_MULTIVERSION
#define FMTC_MULTIVERSION
#endif

// Inlined also where the compiler's size heuristics would not: for the bodies of such functions.
#define FMTC_ALWAYS_INLINE __attribute__((always_inline)) inline
