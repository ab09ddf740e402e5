#include "infer/image.h"

#include <algorithm>
#include <array>
#include <csetjmp>
#include <cstdio>
#include <memory>
#include <string>

// After cstdio, which it needs and does not include.
#include <jerror.h>
#include <jpeglib.h>
#include <png.h>

namespace fmtc::infer {
namespace {

constexpr int64_t kMaxSide = 1 << 15;

struct CloseFile {
  void operator()(std::FILE* file) const { std::fclose(file); }
};
using File = std::unique_ptr<std::FILE, CloseFile>;

// Both libraries report errors by a call that must not return, and are written in C: control goes
// back by longjmp, over functions of theirs and none of ours that has anything to destroy. What is
// decoded lies outside these functions.

struct JpegErrors {
  jpeg_error_mgr manager;  // first: the library hands out a pointer to it
  std::jmp_buf back;
  char message[JMSG_LENGTH_MAX];
};

[[noreturn]] void jpeg_failed(j_common_ptr decoder) {
  auto* errors = reinterpret_cast<JpegErrors*>(decoder->err);
  errors->manager.format_message(decoder, errors->message);
  std::longjmp(errors->back, 1);
}

// Warnings are about corrupt data.
void jpeg_warned(j_common_ptr decoder, int level) {
  if (level < 0) jpeg_failed(decoder);
}

bool decode_jpeg(std::FILE* file, J_COLOR_SPACE space, jpeg_decompress_struct& decoder,
                 JpegErrors& errors, Image& image) {
  decoder.err = jpeg_std_error(&errors.manager);
  errors.manager.error_exit = jpeg_failed;
  errors.manager.emit_message = jpeg_warned;
  if (setjmp(errors.back) != 0) return false;
  jpeg_create_decompress(&decoder);
  jpeg_stdio_src(&decoder, file);
  jpeg_read_header(&decoder, TRUE);
  if (std::max<int64_t>(decoder.image_height, decoder.image_width) > kMaxSide) {
    ERREXIT1(&decoder, JERR_IMAGE_TOO_BIG, kMaxSide);
  }
  decoder.out_color_space = space;
  jpeg_start_decompress(&decoder);
  image.height = decoder.output_height;
  image.width = decoder.output_width;
  image.pixels.resize(static_cast<size_t>(image.height * image.width * image.channels));
  while (decoder.output_scanline < decoder.output_height) {
    JSAMPROW row = image.pixels.data() +
                   static_cast<int64_t>(decoder.output_scanline) * image.width * image.channels;
    jpeg_read_scanlines(&decoder, &row, 1);
  }
  jpeg_finish_decompress(&decoder);
  return true;
}

void read_jpeg(std::FILE* file, Image& image) {
  jpeg_decompress_struct decoder = {};
  JpegErrors errors = {};
  const bool good =
      decode_jpeg(file, image.channels == 1 ? JCS_GRAYSCALE : JCS_RGB, decoder, errors, image);
  jpeg_destroy_decompress(&decoder);
  if (!good) throw Error(std::string("damaged JPEG: ") + errors.message);
}

struct PngErrors {
  std::string message;
};

[[noreturn]] void png_failed(png_structp decoder, png_const_charp message) {
  static_cast<PngErrors*>(png_get_error_ptr(decoder))->message = message;
  std::longjmp(png_jmpbuf(decoder), 1);
}

void png_warned(png_structp, png_const_charp) {}

// All kinds of PNG to 8 bits of RGB or grey.
void set_png_output(png_structp decoder, png_infop info, bool grey) {
  const int kind = png_get_color_type(decoder, info);
  png_set_expand(decoder);
  png_set_strip_16(decoder);
  png_set_strip_alpha(decoder);
  const bool is_grey = (kind & PNG_COLOR_MASK_COLOR) == 0;
  if (grey && !is_grey) png_set_rgb_to_gray_fixed(decoder, PNG_ERROR_ACTION_NONE, -1, -1);
  if (!grey && is_grey) png_set_gray_to_rgb(decoder);
}

bool decode_png(std::FILE* file, png_structp decoder, png_infop info, Image& image,
                std::vector<png_bytep>& rows) {
  if (setjmp(png_jmpbuf(decoder)) != 0) return false;
  png_init_io(decoder, file);
  png_set_user_limits(decoder, kMaxSide, kMaxSide);
  png_read_info(decoder, info);
  set_png_output(decoder, info, image.channels == 1);
  png_set_interlace_handling(decoder);
  png_read_update_info(decoder, info);
  image.height = png_get_image_height(decoder, info);
  image.width = png_get_image_width(decoder, info);
  const auto stride = static_cast<int64_t>(png_get_rowbytes(decoder, info));
  if (stride != image.width * image.channels) png_error(decoder, "unexpected kind of pixels");
  image.pixels.resize(static_cast<size_t>(image.height * stride));
  rows.resize(static_cast<size_t>(image.height));
  for (int64_t y = 0; y < image.height; ++y) {
    rows[static_cast<size_t>(y)] = image.pixels.data() + y * stride;
  }
  png_read_image(decoder, rows.data());
  png_read_end(decoder, nullptr);
  return true;
}

void read_png(std::FILE* file, Image& image) {
  PngErrors errors;
  std::vector<png_bytep> rows;
  png_structp decoder =
      png_create_read_struct(PNG_LIBPNG_VER_STRING, &errors, png_failed, png_warned);
  png_infop info = decoder == nullptr ? nullptr : png_create_info_struct(decoder);
  const bool good = info != nullptr && decode_png(file, decoder, info, image, rows);
  png_destroy_read_struct(&decoder, &info, nullptr);
  if (!good) throw Error("damaged PNG: " + errors.message);
}

}  // namespace

Image read_image(const std::filesystem::path& path, int channels) {
  const File file(std::fopen(path.c_str(), "rb"));
  if (!file) throw Error("it cannot be opened");
  std::array<uint8_t, 8> first = {};
  if (std::fread(first.data(), 1, first.size(), file.get()) != first.size()) {
    throw Error("it is too short for an image");
  }
  std::rewind(file.get());
  Image image;
  image.channels = channels;
  if (png_sig_cmp(first.data(), 0, first.size()) == 0) {
    read_png(file.get(), image);
  } else if (first[0] == 0xFF && first[1] == 0xD8) {
    read_jpeg(file.get(), image);
  } else {
    throw Error("it is neither JPEG nor PNG");
  }
  return image;
}

}  // namespace fmtc::infer
