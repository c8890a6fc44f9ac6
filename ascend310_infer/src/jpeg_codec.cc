// JPEG with libjpeg (libjpeg-turbo), which reports an error through a function that must not return.
#include <csetjmp>
#include <cstdio>
// jpeglib.h needs FILE and size_t.
#include <jerror.h>
#include <jpeglib.h>

#include "image_decoders.h"

namespace infer {
namespace {

constexpr int kMostScans = 100;  // of a progressive file; each takes time, whatever its length

struct ErrorManager {
  jpeg_error_mgr base;  // the first: libjpeg knows a pointer to it
  std::jmp_buf jump;
  char text[JMSG_LENGTH_MAX];
};

void HandleError(j_common_ptr common) {
  auto* errors = reinterpret_cast<ErrorManager*>(common->err);
  errors->base.format_message(common, errors->text);
  std::longjmp(errors->jump, 1);
}

// Where data is missing or damaged libjpeg warns and goes on with grey; here that is an error.
void HandleMessage(j_common_ptr common, int level) {
  const int code = common->err->msg_code;
  const bool is_harmless = code == JWRN_EXTRANEOUS_DATA || code == JWRN_ADOBE_XFORM || code == JWRN_JFIF_MAJOR;
  if (level < 0 && !is_harmless) HandleError(common);
}

void HandleProgress(j_common_ptr common) {
  if (reinterpret_cast<j_decompress_ptr>(common)->input_scan_number > kMostScans) ERREXIT(common, JERR_BAD_PROGRESSION);
}

// As OpenCV converts what Adobe's programs write.
void CmykToRgb(const uint8_t* cmyk, int count, uint8_t* rgb) {
  for (int i = 0; i < count; ++i) {
    const int k = cmyk[4 * i + 3];
    for (int c = 0; c < 3; ++c) rgb[3 * i + c] = static_cast<uint8_t>(k - ((255 - cmyk[4 * i + c]) * k >> 8));
  }
}

class JpegReader {
 public:
  JpegReader(const std::string& content, const std::filesystem::path& file) : file_(file) {
    decoder_.err = jpeg_std_error(&errors_.base);
    errors_.base.error_exit = HandleError;
    errors_.base.emit_message = HandleMessage;
    progress_.progress_monitor = HandleProgress;
    const auto* bytes = reinterpret_cast<const unsigned char*>(content.data());
    const size_t count = content.size();
    Run([this, bytes, count] {
      jpeg_create_decompress(&decoder_);
      decoder_.progress = &progress_;
      jpeg_mem_src(&decoder_, bytes, count);
      jpeg_read_header(&decoder_, TRUE);
    });
  }
  JpegReader(const JpegReader&) = delete;
  JpegReader& operator=(const JpegReader&) = delete;
  ~JpegReader() { jpeg_destroy_decompress(&decoder_); }

  Size size() const { return {static_cast<int>(decoder_.image_height), static_cast<int>(decoder_.image_width)}; }

  void ReadPixels(uint8_t* pixels) {
    const bool is_cmyk = decoder_.jpeg_color_space == JCS_CMYK || decoder_.jpeg_color_space == JCS_YCCK;
    decoder_.out_color_space = is_cmyk ? JCS_CMYK : JCS_RGB;
    const size_t row_bytes = 3 * static_cast<size_t>(decoder_.image_width);
    if (is_cmyk) cmyk_.resize(4 * static_cast<size_t>(decoder_.image_width));
    Run([this, pixels, row_bytes, is_cmyk] {
      jpeg_start_decompress(&decoder_);
      while (decoder_.output_scanline < decoder_.output_height) {
        uint8_t* rgb = pixels + decoder_.output_scanline * row_bytes;
        JSAMPROW row = is_cmyk ? cmyk_.data() : rgb;
        jpeg_read_scanlines(&decoder_, &row, 1);
        if (is_cmyk) CmykToRgb(row, static_cast<int>(decoder_.output_width), rgb);
      }
      jpeg_finish_decompress(&decoder_);
    });
  }

 private:
  // Runs `steps`, which call libjpeg and must make no object with a destructor: an error jumps over what is on the way.
  template <typename Steps>
  void Run(Steps steps) {
    if (Completes(steps)) return;
    const std::string text = OneLine(errors_.text);
    jpeg_destroy_decompress(&decoder_);  // may come from the constructor; twice is harmless
    FailToDecode(file_, "is not a complete JPEG (" + text + "); copy the file again");
  }

  template <typename Steps>
  bool Completes(Steps steps) {
    if (setjmp(errors_.jump) != 0) return false;
    steps();
    return true;
  }

  const std::filesystem::path& file_;
  ErrorManager errors_{};
  jpeg_progress_mgr progress_{};
  jpeg_decompress_struct decoder_{};
  std::vector<uint8_t> cmyk_;
};

}  // namespace

bool IsJpeg(const std::string& content) { return content.compare(0, 3, "\xff\xd8\xff") == 0; }

void DecodeJpeg(const std::string& content, const std::filesystem::path& file, const PlaceRgb& place) {
  JpegReader reader(content, file);
  CheckImageSize(file, reader.size().height, reader.size().width);
  reader.ReadPixels(place(reader.size()));
}

}  // namespace infer
