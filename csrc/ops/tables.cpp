#include "ops/tables.h"

#include <torch/csrc/stable/library.h>

namespace fmtc::ops {

STABLE_TORCH_LIBRARY_IMPL(fmtc, CPU, m) {
  m.impl("huffman_lengths", TORCH_BOX(&huffman_lengths));
  m.impl("huffman_tables", TORCH_BOX(&huffman_tables));
  m.impl("rans_frequencies", TORCH_BOX(&rans_frequencies));
  m.impl("apack_frequencies", TORCH_BOX(&apack_frequencies));
  m.impl("rans_tables", TORCH_BOX(&rans_tables));
}

}  // namespace fmtc::ops
