// fmtc._C: build information and what is no tensor. Links libfmtc_ops.so, so torch must have been
// imported before.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/bundle.h"
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
  info["cuda_architectures"] = FMTC_CUDA_ARCHITECTURES;
#else
  info["cuda"] = false;
  info["cuda_architectures"] = py::none();
#endif
  info["simd"] = fmtc::name(fmtc::cpu_simd());
  info["coder_simd"] = fmtc::name(fmtc::rans_simd());
  return info;
}

const char* status_message(int32_t status) {
  return fmtc::message(static_cast<fmtc::Status>(status));
}

std::span<const uint8_t> bytes_of(const py::buffer_info& buffer) {
  if (buffer.itemsize != 1 || buffer.ndim != 1 || (buffer.size > 1 && buffer.strides[0] != 1)) {
    throw py::value_error("the data are not contiguous bytes");
  }
  return {static_cast<const uint8_t*>(buffer.ptr), static_cast<size_t>(buffer.size)};
}

py::dict stream_info(const py::buffer& data) {
  const py::buffer_info buffer = data.request();
  const std::span<const uint8_t> bytes = bytes_of(buffer);
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

void check_bundle(fmtc::Status status) {
  if (status != fmtc::Status::kOk) throw py::value_error(fmtc::bundle_message(status));
}

// Streams [N * T], image after image.
py::bytes make_bundle(const std::vector<std::string>& names,
                      const std::vector<py::buffer>& streams) {
  const std::vector<std::string_view> views(names.begin(), names.end());
  std::vector<py::buffer_info> buffers;  // they hold the bytes
  std::vector<std::span<const uint8_t>> spans;
  for (const py::buffer& stream : streams) {
    buffers.push_back(stream.request());
    spans.push_back(bytes_of(buffers.back()));
  }
  uint64_t size = 0;
  check_bundle(fmtc::bundle_size(views, spans, size));
  py::bytes bundle(nullptr, static_cast<size_t>(size));
  auto* const out = reinterpret_cast<uint8_t*>(PyBytes_AS_STRING(bundle.ptr()));
  size_t used = 0;
  check_bundle(fmtc::write_bundle(views, spans, {out, static_cast<size_t>(size)}, used));
  return bundle;
}

// A bundle in somebody's bytes, which it holds.
class BundleReader {
 public:
  explicit BundleReader(const py::buffer& data) : buffer_(data.request()) {
    check_bundle(fmtc::open_bundle(bytes(), header_));
    streams_.resize(static_cast<size_t>(header_.streams()));
    fmtc::list_streams(header_, bytes(), streams_);
  }

  uint32_t images() const { return header_.images; }
  std::vector<std::string> names() const {
    std::vector<std::string> names;
    for (uint32_t t = 0; t < header_.tensors; ++t) {
      names.emplace_back(fmtc::bundle_name(header_, bytes(), t));
    }
    return names;
  }
  py::bytes stream(uint32_t image, uint32_t tensor) const {
    if (image >= header_.images || tensor >= header_.tensors) throw py::index_error();
    const fmtc::BundleStream& place = streams_[size_t{image} * header_.tensors + tensor];
    const auto found = bytes().subspan(static_cast<size_t>(place.begin), place.size);
    check_bundle(fmtc::check_stream(found, place));
    return {reinterpret_cast<const char*>(found.data()), found.size()};
  }

 private:
  std::span<const uint8_t> bytes() const { return bytes_of(buffer_); }

  py::buffer_info buffer_;
  fmtc::BundleHeader header_;
  std::vector<fmtc::BundleStream> streams_;
};

}  // namespace

PYBIND11_MODULE(_C, m) {
  m.doc() = "Compiled parts of fmtc that are no torch operators.";
  m.def("build_info", &build_info,
        "How this library was built and what it uses: dict of str or bool.");
  m.def("status_message", &status_message, py::arg("status"),
        "The sentence that explains a status number of a decoder.");
  m.def("stream_info", &stream_info, py::arg("data"),
        "Header fields of the stream that the bytes begin with. ValueError where there is none.");
  m.def("make_bundle", &make_bundle, py::arg("names"), py::arg("streams"),
        "A bundle of streams, image after image and for each its tensors. ValueError where they "
        "make none.");
  py::class_<BundleReader>(m, "BundleReader", "A bundle, head and size of which are right.")
      .def(py::init<const py::buffer&>(), py::arg("data"), "ValueError where it is none.")
      .def_property_readonly("images", &BundleReader::images)
      .def_property_readonly("names", &BundleReader::names, "Of the tensors: list of str.")
      .def("stream", &BundleReader::stream, py::arg("image"), py::arg("tensor"),
           "The bytes of one stream. ValueError where they are damaged.");
}
