// The schemas of all operators, once. All but accumulate_ are functional: no argument is changed
// and no result shares memory with an argument. Every other file of this folder is one operator
// with its checks and its CPU kernel, or what several share (checks.h, parallel.h, streams.h);
// fmtc/ops documents the operators and has their fakes. FMTC_LIBRARY is what torch.ops knows them
// as; see cuda/device.h.
#include <torch/csrc/stable/library.h>

STABLE_TORCH_LIBRARY(FMTC_LIBRARY, m) {
  m.def("channel_moments(Tensor x) -> (Tensor count, Tensor mean, Tensor m2)");
  m.def(
      "merge_moments(Tensor count_a, Tensor mean_a, Tensor m2_a, "
      "Tensor count_b, Tensor mean_b, Tensor m2_b) -> (Tensor count, Tensor mean, Tensor m2)");
  m.def("pca(Tensor covariance) -> (Tensor eigenvalues, Tensor basis)");
  m.def("quantize(Tensor y, float step, int lo, int hi) -> (Tensor levels, Tensor clamped)");
  // A dtype is a name, as AOTInductor cannot write ScalarType.
  m.def("dequantize(Tensor levels, float step, str dtype=\"float32\") -> Tensor");
  m.def(
      "transform_channels(Tensor x, Tensor matrix, Tensor offset, float? least=None, "
      "float? most=None) -> Tensor");
  m.def(
      "transform_quantize(Tensor x, Tensor matrix, Tensor offset, float step, int lo, int hi) "
      "-> (Tensor levels, Tensor clamped)");
  m.def(
      "dequantize_transform(Tensor levels, Tensor matrix, Tensor offset, float step, "
      "float? least=None, float? most=None, str dtype=\"float32\") -> Tensor");
  m.def(
      "quantize_scaled(Tensor y, str format, int block, float layer_scale, int lo, int hi) "
      "-> (Tensor levels, Tensor clamped)");
  m.def(
      "dequantize_scaled(Tensor levels, str format, int block, float layer_scale, "
      "str dtype=\"float32\") -> Tensor");
  m.def(
      "dct_quantize(Tensor y, Tensor places, int planes, Tensor steps, int lo, int hi) "
      "-> (Tensor levels, Tensor clamped)");
  m.def(
      "dequantize_dct(Tensor levels, Tensor places, SymInt height, SymInt width, Tensor steps, "
      "str dtype=\"float32\") -> Tensor");
  m.def("predict(Tensor levels, Tensor coefficients) -> Tensor");
  m.def("unpredict(Tensor residuals, Tensor coefficients) -> Tensor");
  m.def("position_activity(Tensor levels, Tensor weights) -> Tensor");
  m.def(
      "arrange(Tensor levels, Tensor classes, int num_classes) -> (Tensor values, Tensor "
      "positions)");
  m.def(
      "position_histogram(Tensor levels, Tensor classes, int num_classes, int lo, int hi, "
      "Tensor groups, int num_groups) -> Tensor");
  m.def("histogram(Tensor levels, int lo, int hi, Tensor groups, int num_groups) -> Tensor");
  m.def("entropy(Tensor counts) -> Tensor");
  m.def("accumulate_(Tensor(a!) total, Tensor part) -> ()");
  m.def("huffman_lengths(Tensor counts, int max_length) -> Tensor");
  m.def("huffman_tables(Tensor lengths) -> (Tensor encode_table, Tensor decode_table)");
  m.def(
      "huffman_encode(Tensor levels, int lo, Tensor table_of, Tensor encode_table, int table_id, "
      "SymInt crop_h=0, SymInt crop_w=0, int lane_values=0) -> (Tensor bytes, Tensor used)");
  m.def(
      "huffman_decode(Tensor bytes, Tensor used, int lo, Tensor table_of, Tensor decode_table, "
      "int table_id, SymInt channels, SymInt height, SymInt width, "
      "int max_values=268435456) -> (Tensor levels, Tensor status)");
  m.def("rans_frequencies(Tensor counts, int log2_total) -> Tensor");
  m.def("apack_frequencies(Tensor counts, int log2_total) -> Tensor");
  m.def(
      "rans_tables(Tensor frequencies) -> (Tensor encode_table, Tensor decode_table, Tensor base)");
  m.def(
      "rans_encode(Tensor levels, int lo, Tensor table_of, Tensor encode_table, int table_id, "
      "SymInt crop_h=0, SymInt crop_w=0, Tensor? classes=None, int lane_values=0) "
      "-> (Tensor bytes, Tensor used)");
  m.def(
      "rans_decode(Tensor bytes, Tensor used, int lo, Tensor table_of, Tensor decode_table, "
      "Tensor base, int table_id, SymInt channels, SymInt height, SymInt width, "
      "int max_values=268435456) -> (Tensor levels, Tensor status)");
  m.def(
      "ebpc_encode(Tensor levels, int lo, int word_bits, int table_id, "
      "SymInt crop_h=0, SymInt crop_w=0, int lane_values=0) -> (Tensor bytes, Tensor used)");
  m.def(
      "ebpc_decode(Tensor bytes, Tensor used, int lo, int word_bits, int table_id, "
      "SymInt channels, SymInt height, SymInt width, int max_values=268435456) "
      "-> (Tensor levels, Tensor status)");
  m.def(
      "dct_cm_encode(Tensor levels, int lo, int word_bits, int table_id, "
      "SymInt crop_h=0, SymInt crop_w=0, int lane_values=0) -> (Tensor bytes, Tensor used)");
  m.def(
      "dct_cm_decode(Tensor bytes, Tensor used, int lo, int word_bits, int table_id, "
      "SymInt channels, SymInt height, SymInt width, int max_values=268435456) "
      "-> (Tensor levels, Tensor status)");
  // What a coding point does, in one call each way.
  m.def(
      "encode_point(Tensor x, Tensor? matrix, Tensor? offset, Tensor? places, Tensor? steps, "
      "float step, int lo, int hi, Tensor coefficients, Tensor shifts, int planes, "
      "Tensor? weights, Tensor? thresholds, str coder, int symbols_from, Tensor table_of, "
      "Tensor encode_table, int table_id, SymInt crop_h=0, SymInt crop_w=0, int lane_values=0, "
      "Tensor? groups=None, int num_groups=0, int num_symbols=0) "
      "-> (Tensor bytes, Tensor used, Tensor clamped, Tensor counts)");
  m.def(
      "decode_point(Tensor bytes, Tensor used, SymInt height, SymInt width, str coder, "
      "int symbols_from, Tensor table_of, Tensor decode_table, Tensor? base, int table_id, "
      "Tensor coefficients, Tensor shifts, int planes, Tensor? matrix, Tensor? offset, "
      "Tensor? places, Tensor? steps, float step, SymInt crop_h=0, SymInt crop_w=0, "
      "float? least=None, float? most=None, str dtype=\"float32\", int max_values=268435456) "
      "-> (Tensor x, Tensor status)");
  m.def(
      "simulate_point(Tensor x, Tensor? matrix, Tensor? offset, Tensor? inverse, Tensor? mean, "
      "Tensor? places, Tensor? steps, float step, int lo, int hi, Tensor coefficients, "
      "Tensor shifts, int planes, Tensor? weights, Tensor? thresholds, float? least=None, "
      "float? most=None, int symbols_from=0, Tensor? groups=None, int num_groups=0, "
      "int num_symbols=0) -> (Tensor y, Tensor clamped, Tensor counts)");
}
