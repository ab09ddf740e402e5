#include <cstdio>
#include <string>
#include <vector>

#include "infer/image_file.h"

// After cstdio, which it needs and does not include.
#include <jerror.h>
#include <jpeglib.h>

namespace fmtc::infer {
namespace {

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

// Warnings are about data that can be decoded all the same, as Pillow does, but for the end of the
// file.
void jpeg_warned(j_common_ptr decoder, int level) {
  if (level < 0 && decoder->err->msg_code == JWRN_JPEG_EOF) jpeg_failed(decoder);
}

struct Decompress : jpeg_decompress_struct {
  Decompress() : jpeg_decompress_struct() {}
  Decompress(const Decompress&) = delete;
  Decompress& operator=(const Decompress&) = delete;
  ~Decompress() { jpeg_destroy_decompress(this); }
};

class JpegDecoder {
 public:
  explicit JpegDecoder(std::FILE* file) {
    decoder_.err = jpeg_std_error(&errors_.manager);
    errors_.manager.error_exit = jpeg_failed;
    errors_.manager.emit_message = jpeg_warned;
    attempt([&] {
      jpeg_create_decompress(&decoder_);
      jpeg_stdio_src(&decoder_, file);
      jpeg_read_header(&decoder_, TRUE);
    });
  }

  int64_t height() const { return decoder_.image_height; }
  int64_t width() const { return decoder_.image_width; }
  // Samples that are neither grey nor a colour that is made into RGB, but inks.
  bool inks() const { return decoder_.num_components == 4; }

  void start(J_COLOR_SPACE space) {
    decoder_.out_color_space = space;
    attempt([&] { jpeg_start_decompress(&decoder_); });
  }
  void read_row(uint8_t* row) {
    attempt([&] { jpeg_read_scanlines(&decoder_, &row, 1); });
  }
  void read_rows(Image& image) {
    attempt([&] {
      while (decoder_.output_scanline < decoder_.output_height) {
        JSAMPROW row = image.row(decoder_.output_scanline);
        jpeg_read_scanlines(&decoder_, &row, 1);
      }
    });
  }
  void finish() {
    attempt([&] { jpeg_finish_decompress(&decoder_); });
  }

 private:
  template <typename F>
  void attempt(const F& f) {
    if (!without_jump(errors_.back, f)) {
      throw Error(std::string("damaged JPEG: ") + errors_.message);
    }
  }

  JpegErrors errors_ = {};
  Decompress decoder_;
};

// a * b / 255, rounded, as Pillow has it.
int times(int a, int b) {
  const int product = a * b + 128;
  return ((product >> 8) + product) >> 8;
}

// As Pillow converts inks, which it takes for those of Adobe, the other way round (libImaging's
// Convert.c, cmyk2rgb and rgb2l).
void from_inks(const uint8_t* cmyk, int64_t width, int channels, uint8_t* to) {
  for (int64_t x = 0; x < width; ++x, cmyk += 4, to += channels) {
    const int light = cmyk[3];
    int rgb[3];
    for (int c = 0; c < 3; ++c) rgb[c] = light - times(255 - cmyk[c], light);
    if (channels == 1) {
      *to = static_cast<uint8_t>((rgb[0] * 19595 + rgb[1] * 38470 + rgb[2] * 7471 + 0x8000) >> 16);
    } else {
      for (int c = 0; c < 3; ++c) to[c] = static_cast<uint8_t>(rgb[c]);
    }
  }
}

}  // namespace

Image read_jpeg(std::FILE* file, int channels, int64_t max_pixels) {
  JpegDecoder decoder(file);
  check_pixels(decoder.height(), decoder.width(), max_pixels);
  Image image(decoder.height(), decoder.width(), channels);
  if (decoder.inks()) {
    decoder.start(JCS_CMYK);
    std::vector<uint8_t> row(static_cast<size_t>(4 * image.width));
    for (int64_t y = 0; y < image.height; ++y) {
      decoder.read_row(row.data());
      from_inks(row.data(), image.width, channels, image.row(y));
    }
  } else {
    decoder.start(channels == 1 ? JCS_GRAYSCALE : JCS_RGB);
    decoder.read_rows(image);
  }
  decoder.finish();
  return image;
}

}  // namespace fmtc::infer
