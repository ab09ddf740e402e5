#pragma once

// FMTC_HD marks functions that the CUDA kernels share with the core: what a kernel does for each
// value stands once and is tested where there is no GPU.
#if defined(__CUDACC__)
#define FMTC_HD __host__ __device__
#else
#define FMTC_HD
#endif
