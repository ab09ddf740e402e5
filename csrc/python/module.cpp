// fmtc._C: build information and what is no tensor. Links libfmtc_ops.so, so torch must have been
// imported before.
#include <pybind11/pybind11.h>

#include <span>
#include <string_view>

#include "core/rans.h"
#include "core/simd.h"
#include "core/status.h"
#include "core/stream.h"

namespace py = pybind11;

namespace {

py::dict build_info() {
  py::dict info;
  info["version"] = FMTC_VERSION;
  info["compiler"] = FMTC_COMPILER;
  info["build_type"] = FMTC_BUILD_TYPE;
  info["flags"] = FMTC_FLAGS;
  info["torch_built_with"] = FMTC_TORCH_VERSION;
#if defined(FMTC_WITH_CUDA)
  info["cuda"] = true;
#else
  info["cuda"] = false;
#endif
  info["simd"] = fmtc::simd_level();
  info["coder_simd"] = fmtc::name(fmtc::rans_simd());
  return info;
}

const char* status_message(int32_t status) {
  return fmtc::message(static_cast<fmtc::Status>(status));
}

py::dict stream_info(const py::buffer& data) {
  const py::buffer_info buffer = data.request();
  if (buffer.itemsize != 1 || buffer.ndim != 1 || (buffer.size > 1 && buffer.strides[0] != 1)) {
    throw py::value_error("the data are not contiguous bytes");
  }
  const std::span bytes(static_cast<const uint8_t*>(buffer.ptr), static_cast<size_t>(buffer.size));
  fmtc::StreamHeader header;
  size_t size = 0;
  const fmtc::Status status = fmtc::read_header(bytes, header, size);
  if (status != fmtc::Status::kOk) throw py::value_error(fmtc::message(status));
  py::dict info;
  info["version"] = fmtc::kStreamVersion;  // the only one that read_header accepts
  info["coder"] = fmtc::coder_name(header.coder);
  info["channels"] = header.components;
  info["height"] = header.height;
  info["width"] = header.width;
  info["table_id"] = header.table_id;
  info["chunks"] = header.chunks();
  info["lanes"] = header.lanes();
  info["classes"] = header.classes;
  info["crop_h"] = header.crop_h;
  info["crop_w"] = header.crop_w;
  info["size"] = size;
  return info;
}

}  // namespace

PYBIND11_MODULE(_C, m) {
  m.doc() = "Compiled parts of fmtc that are no torch operators.";
  m.def("build_info", &build_info,
        "How this library was built and what it uses: dict of str or bool.");
  m.def("status_message", &status_message, py::arg("status"),
        "The sentence that explains a status number of a decoder.");
  m.def("stream_info", &stream_info, py::arg("data"),
        "Header fields of the stream that the bytes begin with. ValueError where there is none.");
}
