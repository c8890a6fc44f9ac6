// PNG with libpng, which reports an error by a jump out of its functions.
#include <png.h>

#include <csetjmp>
#include <cstring>

#include "image_decoders.h"

namespace infer {
namespace {

constexpr char kSignature[] = "\x89PNG\r\n\x1a\n";
constexpr size_t kSignatureBytes = 8;

// What an error left behind, for the message after the jump.
struct Problem {
  char text[200] = "";
};

void HandleError(png_structp png, png_const_charp message) {
  auto* problem = static_cast<Problem*>(png_get_error_ptr(png));
  std::strncpy(problem->text, message, sizeof(problem->text) - 1);
  png_longjmp(png, 1);
}

void HandleWarning(png_structp, png_const_charp) {}  // about what is no pixel data

// Runs `steps`, which call libpng and must make no object with a destructor: an error jumps over what is on the way.
// Returns whether all went well.
template <typename Steps>
bool WithoutError(png_structp png, Steps steps) {
  if (setjmp(png_jmpbuf(png)) != 0) return false;
  steps();
  return true;
}

// What libpng needs to read or to write a file.
class PngState {
 public:
  enum class Direction { kRead, kWrite };
  explicit PngState(Direction direction) : direction_(direction) {
    const auto create = direction == Direction::kRead ? &png_create_read_struct : &png_create_write_struct;
    png_ = create(PNG_LIBPNG_VER_STRING, &problem_, HandleError, HandleWarning);
    info_ = png_ == nullptr ? nullptr : png_create_info_struct(png_);
    if (info_ == nullptr) {
      Destroy();
      throw Error(kFailed, "libpng cannot start");
    }
  }
  PngState(const PngState&) = delete;
  PngState& operator=(const PngState&) = delete;
  ~PngState() { Destroy(); }

  png_structp png() const { return png_; }
  png_infop info() const { return info_; }
  std::string problem() const { return OneLine(problem_.text); }

 private:
  void Destroy() {
    if (direction_ == Direction::kRead) {
      png_destroy_read_struct(&png_, &info_, nullptr);
    } else {
      png_destroy_write_struct(&png_, &info_);
    }
  }

  const Direction direction_;
  Problem problem_;
  png_structp png_ = nullptr;
  png_infop info_ = nullptr;
};

class PngReader {
 public:
  PngReader(const std::string& content, const std::filesystem::path& file)
      : content_(content), file_(file), state_(PngState::Direction::kRead), png_(state_.png()), info_(state_.info()) {
    png_set_read_fn(png_, this, Read);
    png_set_chunk_malloc_max(png_, 1 << 24);  // of texts and profiles
    Expect(WithoutError(png_, [this] { png_read_info(png_, info_); }));
    CheckImageSize(file, png_get_image_height(png_, info_), png_get_image_width(png_, info_));
    size_ = {static_cast<int>(png_get_image_height(png_, info_)), static_cast<int>(png_get_image_width(png_, info_))};
  }
  PngReader(const PngReader&) = delete;
  PngReader& operator=(const PngReader&) = delete;

  const Size& size() const { return size_; }
  int color_type() const { return png_get_color_type(png_, info_); }
  int bit_depth() const { return png_get_bit_depth(png_, info_); }

  void ConvertToRgb() {
    Expect(WithoutError(png_, [this] {
      png_set_palette_to_rgb(png_);
      png_set_expand_gray_1_2_4_to_8(png_);
      png_set_gray_to_rgb(png_);
      png_set_strip_16(png_);
      png_set_strip_alpha(png_);
    }));
  }

  // One index in each byte, also where the file has several.
  void UnpackIndices() {
    Expect(WithoutError(png_, [this] { png_set_packing(png_); }));
  }

  // Decodes all rows, of `row_bytes` each, and reads to the end of the file.
  void ReadPixels(uint8_t* pixels, size_t row_bytes) {
    rows_.resize(size_.height);
    for (int y = 0; y < size_.height; ++y) rows_[y] = pixels + y * row_bytes;
    Expect(WithoutError(png_, [this, row_bytes] {
      png_set_interlace_handling(png_);
      png_read_update_info(png_, info_);
      if (png_get_rowbytes(png_, info_) != row_bytes) png_error(png_, "rows of another length");
      png_read_image(png_, rows_.data());
      png_read_end(png_, nullptr);
    }));
  }

 private:
  static void Read(png_structp png, png_bytep to, size_t bytes) {
    auto* reader = static_cast<PngReader*>(png_get_io_ptr(png));
    if (reader->content_.size() - reader->position_ < bytes) png_error(png, "the file ends too early");
    std::memcpy(to, reader->content_.data() + reader->position_, bytes);
    reader->position_ += bytes;
  }

  void Expect(bool good) const {
    if (good) return;
    FailToDecode(file_, "is not a complete PNG (" + state_.problem() + "); copy the file again");
  }

  const std::string& content_;
  const std::filesystem::path& file_;
  size_t position_ = 0;
  const PngState state_;
  const png_structp png_;
  const png_infop info_;
  Size size_;
  std::vector<png_bytep> rows_;
};

class PngWriter {
 public:
  explicit PngWriter(const Image& image)
      : image_(image), state_(PngState::Direction::kWrite), png_(state_.png()), info_(state_.info()) {}
  PngWriter(const PngWriter&) = delete;
  PngWriter& operator=(const PngWriter&) = delete;

  std::string Write() {
    const bool is_rgb = image_.channels == 3;
    const bool good = WithoutError(png_, [this, is_rgb] {
      png_set_write_fn(png_, &encoded_, Append, nullptr);
      png_set_IHDR(png_, info_, image_.size.width, image_.size.height, 8,
                   is_rgb ? PNG_COLOR_TYPE_RGB : PNG_COLOR_TYPE_GRAY, PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT,
                   PNG_FILTER_TYPE_DEFAULT);
      png_set_compression_level(png_, 1);
      // Class maps are long runs of one value, which filters only break up.
      png_set_filter(png_, PNG_FILTER_TYPE_BASE, is_rgb ? PNG_FILTER_SUB : PNG_FILTER_NONE);
      png_write_info(png_, info_);
      for (int y = 0; y < image_.size.height; ++y) png_write_row(png_, image_.row(y));
      png_write_end(png_, info_);
    });
    if (!good) throw Error(kFailed, "libpng cannot encode an image: " + state_.problem());
    return std::move(encoded_);
  }

 private:
  static void Append(png_structp png, png_bytep bytes, size_t count) {
    static_cast<std::string*>(png_get_io_ptr(png))->append(reinterpret_cast<const char*>(bytes), count);
  }

  const Image& image_;
  std::string encoded_;
  const PngState state_;
  const png_structp png_;
  const png_infop info_;
};

// Compressed data is at most this much smaller than the pixels; a header that claims more is refused before any memory
// is taken.
void CheckCompression(const std::filesystem::path& file, const std::string& content, size_t bytes) {
  constexpr size_t kMostRatio = 1100;  // deflate reaches 1032
  if (bytes / kMostRatio > content.size()) {
    FailToDecode(file, "is not a complete PNG (the header claims more than the file can hold); copy the file again");
  }
}

}  // namespace

bool IsPng(const std::string& content) { return content.compare(0, kSignatureBytes, kSignature, kSignatureBytes) == 0; }

void DecodePng(const std::string& content, const std::filesystem::path& file, const PlaceRgb& place) {
  PngReader reader(content, file);
  CheckCompression(file, content, Area(reader.size()) * reader.bit_depth() / 8);
  reader.ConvertToRgb();
  reader.ReadPixels(place(reader.size()), 3 * static_cast<size_t>(reader.size().width));
}

Image DecodeClassIds(const std::string& content, const std::filesystem::path& file) {
  if (!IsPng(content)) FailToDecode(file, "is not a PNG file; expected a label of 8-bit class ids");
  PngReader reader(content, file);
  const bool is_palette = reader.color_type() == PNG_COLOR_TYPE_PALETTE;
  if (!is_palette && (reader.color_type() != PNG_COLOR_TYPE_GRAY || reader.bit_depth() != 8)) {
    FailToDecode(file,
                 "is a PNG of colours or of other than 8 bits; expected class ids, 8-bit grey or palette indices");
  }
  CheckCompression(file, content, Area(reader.size()) * reader.bit_depth() / 8);
  if (is_palette) reader.UnpackIndices();
  Image image(reader.size(), 1);
  reader.ReadPixels(image.pixels.data(), static_cast<size_t>(image.size.width));
  return image;
}

std::string EncodePng(const Image& image) { return PngWriter(image).Write(); }

}  // namespace infer
