#include <png.h>

#include <cstdio>
#include <string>
#include <vector>

#include "infer/image_file.h"

namespace fmtc::infer {
namespace {

[[noreturn]] void png_failed(png_structp decoder, png_const_charp message) {
  *static_cast<std::string*>(png_get_error_ptr(decoder)) = message;
  std::longjmp(png_jmpbuf(decoder), 1);
}

void png_warned(png_structp, png_const_charp) {}

struct ReadStruct {
  explicit ReadStruct(std::string& message)
      : decoder(png_create_read_struct(PNG_LIBPNG_VER_STRING, &message, png_failed, png_warned)),
        info(decoder == nullptr ? nullptr : png_create_info_struct(decoder)) {}
  ReadStruct(const ReadStruct&) = delete;
  ReadStruct& operator=(const ReadStruct&) = delete;
  ~ReadStruct() { png_destroy_read_struct(&decoder, &info, nullptr); }

  png_structp decoder;
  png_infop info;
};

class PngDecoder {
 public:
  explicit PngDecoder(std::FILE* file) : file_(file), owned_(message_) {
    if (owned_.info == nullptr) throw Error("no memory for a PNG");
    attempt([&] {
      png_init_io(decoder_, file_);
      png_set_user_limits(decoder_, PNG_UINT_31_MAX, PNG_UINT_31_MAX);  // check_pixels has others
      png_read_info(decoder_, info_);
    });
  }

  int64_t height() const { return png_get_image_height(decoder_, info_); }
  int64_t width() const { return png_get_image_width(decoder_, info_); }

  // All kinds of PNG to 8 bits of RGB or grey.
  void start(bool grey) {
    attempt([&] {
      const int kind = png_get_color_type(decoder_, info_);
      png_set_expand(decoder_);
      png_set_strip_16(decoder_);
      png_set_strip_alpha(decoder_);
      const bool is_grey = (kind & PNG_COLOR_MASK_COLOR) == 0;
      if (grey && !is_grey) png_set_rgb_to_gray_fixed(decoder_, PNG_ERROR_ACTION_NONE, -1, -1);
      if (!grey && is_grey) png_set_gray_to_rgb(decoder_);
      png_set_interlace_handling(decoder_);
      png_read_update_info(decoder_, info_);
    });
  }
  int64_t row_bytes() const { return static_cast<int64_t>(png_get_rowbytes(decoder_, info_)); }
  void read_rows(png_bytepp rows) {
    attempt([&] { png_read_image(decoder_, rows); });
    const bool ended = without_jump(png_jmpbuf(decoder_), [&] { png_read_end(decoder_, nullptr); });
    // As for Pillow, the chunks behind the rows may be cut off; damaged they must not be.
    if (!ended && std::feof(file_) == 0) fail();
  }

 private:
  template <typename F>
  void attempt(const F& f) {
    if (!without_jump(png_jmpbuf(decoder_), f)) fail();
  }
  [[noreturn]] void fail() const { throw Error("damaged PNG: " + message_); }

  std::FILE* file_;
  std::string message_;
  ReadStruct owned_;
  png_structp decoder_ = owned_.decoder;
  png_infop info_ = owned_.info;
};

}  // namespace

Image read_png(std::FILE* file, int channels, int64_t max_pixels) {
  PngDecoder decoder(file);
  check_pixels(decoder.height(), decoder.width(), max_pixels);
  decoder.start(channels == 1);
  Image image(decoder.height(), decoder.width(), channels);
  if (decoder.row_bytes() != image.width * channels) throw Error("unexpected kind of PNG");
  std::vector<png_bytep> rows(static_cast<size_t>(image.height));
  for (int64_t y = 0; y < image.height; ++y) rows[static_cast<size_t>(y)] = image.row(y);
  decoder.read_rows(rows.data());
  return image;
}

}  // namespace fmtc::infer
