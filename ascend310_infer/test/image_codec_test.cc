#include "image_codec.h"

#include <jpeglib.h>
#include <png.h>

#include <cstdio>
#include <random>

#include "check.h"

namespace {

using infer::Image;
using infer::kBadInput;

constexpr char kFile[] = "street.png";

Image RandomImage(const infer::Size& size, int channels, unsigned seed) {
  Image image(size, channels);
  std::mt19937 random(seed);
  for (int y = 0; y < size.height; ++y) {
    for (int i = 0; i < size.width * channels; ++i) {
      image.row(y)[i] = static_cast<uint8_t>(5 * y + 3 * i + random() % 16);
    }
  }
  return image;
}

// Any kind of PNG, row by row of `bytes_per_row`, with libpng's defaults.
std::string WritePng(int width, int height, int bits, int color_type, const std::string& rows,
                     bool interlaced = false) {
  std::string file;
  png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, nullptr, nullptr, nullptr);
  png_infop info = png_create_info_struct(png);
  png_set_write_fn(
      png, &file,
      [](png_structp p, png_bytep bytes, size_t count) {
        static_cast<std::string*>(png_get_io_ptr(p))->append(reinterpret_cast<const char*>(bytes), count);
      },
      nullptr);
  png_set_IHDR(png, info, width, height, bits, color_type, interlaced ? PNG_INTERLACE_ADAM7 : PNG_INTERLACE_NONE,
               PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
  const png_color palette[4] = {{10, 20, 30}, {40, 50, 60}, {70, 80, 90}, {100, 110, 120}};
  if (color_type == PNG_COLOR_TYPE_PALETTE) png_set_PLTE(png, info, palette, 4);
  png_write_info(png, info);
  const size_t row_bytes = rows.size() / height;
  std::vector<png_bytep> pointers;
  for (int y = 0; y < height; ++y) {
    pointers.push_back(reinterpret_cast<png_bytep>(const_cast<char*>(rows.data())) + y * row_bytes);
  }
  png_write_image(png, pointers.data());
  png_write_end(png, info);
  png_destroy_write_struct(&png, &info);
  return file;
}

std::string WriteJpeg(const Image& image, J_COLOR_SPACE space, bool progressive) {
  jpeg_compress_struct encoder;
  jpeg_error_mgr errors;
  encoder.err = jpeg_std_error(&errors);
  jpeg_create_compress(&encoder);
  unsigned char* memory = nullptr;
  unsigned long bytes = 0;  // NOLINT: libjpeg's type
  jpeg_mem_dest(&encoder, &memory, &bytes);
  encoder.image_width = image.size.width;
  encoder.image_height = image.size.height;
  encoder.input_components = image.channels;
  encoder.in_color_space = space;
  jpeg_set_defaults(&encoder);
  jpeg_set_quality(&encoder, 90, TRUE);
  if (progressive) jpeg_simple_progression(&encoder);
  jpeg_start_compress(&encoder, TRUE);
  while (encoder.next_scanline < encoder.image_height) {
    JSAMPROW row = const_cast<uint8_t*>(image.row(static_cast<int>(encoder.next_scanline)));
    jpeg_write_scanlines(&encoder, &row, 1);
  }
  jpeg_finish_compress(&encoder);
  std::string file(reinterpret_cast<const char*>(memory), bytes);
  jpeg_destroy_compress(&encoder);
  std::free(memory);
  return file;
}

std::string Pixels(const std::string& png) {
  const Image image = infer::DecodeRgb(png, kFile);
  CHECK_EQUAL(image.channels, 3);
  return {image.pixels.begin(), image.pixels.end()};
}

TEST(PngIsReadAsItWasWritten) {
  for (int channels : {1, 3}) {
    const Image image = RandomImage({23, 41}, channels, 1);
    const std::string png = infer::EncodePng(image);
    const Image rgb = infer::DecodeRgb(png, kFile);
    CHECK(rgb.size == image.size);
    for (size_t i = 0; i < rgb.pixels.size(); ++i) CHECK(rgb.pixels[i] == image.pixels[channels == 3 ? i : i / 3]);
    if (channels == 1) CHECK(infer::DecodeClassIds(png, kFile).pixels == image.pixels);
  }
}

TEST(EveryKindOfPngBecomesRgb) {
  CHECK_EQUAL(Pixels(WritePng(2, 1, 16, PNG_COLOR_TYPE_RGB, std::string("\1\xff\2\xff\3\xff\4\0\5\0\6\0", 12))),
              "\1\2\3\4\5\6");
  CHECK_EQUAL(Pixels(WritePng(2, 1, 16, PNG_COLOR_TYPE_GRAY, "\x07\x80\x08\x10")), "\7\7\7\x8\x8\x8");
  CHECK_EQUAL(Pixels(WritePng(2, 1, 8, PNG_COLOR_TYPE_RGB_ALPHA, std::string("\1\2\3\0\4\5\6\x80", 8))),
              "\1\2\3\4\5\6");
  CHECK_EQUAL(Pixels(WritePng(2, 1, 8, PNG_COLOR_TYPE_GRAY_ALPHA, std::string("\1\0\2\xff", 4))), "\1\1\1\2\2\2");
  CHECK_EQUAL(Pixels(WritePng(8, 1, 1, PNG_COLOR_TYPE_GRAY, "\x81")),
              std::string("\xff\xff\xff", 3) + std::string(18, '\0') + "\xff\xff\xff");
  CHECK_EQUAL(Pixels(WritePng(4, 1, 2, PNG_COLOR_TYPE_PALETTE, "\x1b")),
              "\x0a\x14\x1e\x28\x32\x3c\x46\x50\x5a\x64\x6e\x78");
  const std::string rows = "0123456789abcdefghijklmnopqrstuvwxyz";
  CHECK_EQUAL(Pixels(WritePng(3, 4, 8, PNG_COLOR_TYPE_RGB, rows, true)), rows);
}

TEST(ClassIdsAreGreyValuesOrIndices) {
  const Image indices = infer::DecodeClassIds(WritePng(4, 1, 2, PNG_COLOR_TYPE_PALETTE, "\x1b"), kFile);
  CHECK(indices.pixels == std::vector<uint8_t>({0, 1, 2, 3}));
  const std::string message =
      "street.png: is a PNG of colours or of other than 8 bits; expected class ids, 8-bit grey or palette indices";
  CHECK_ERROR(infer::DecodeClassIds(WritePng(1, 1, 8, PNG_COLOR_TYPE_RGB, "abc"), kFile), kBadInput, message);
  CHECK_ERROR(infer::DecodeClassIds(WritePng(1, 1, 16, PNG_COLOR_TYPE_GRAY, "ab"), kFile), kBadInput, message);
  CHECK_ERROR(infer::DecodeClassIds("\xff\xd8\xff", kFile), kBadInput,
              "street.png: is not a PNG file; expected a label of 8-bit class ids");
}

TEST(JpegOfEveryColorSpaceBecomesRgb) {
  const Image rgb = RandomImage({40, 33}, 3, 2), grey = RandomImage({40, 33}, 1, 3), cmyk = RandomImage({40, 33}, 4, 4);
  for (bool progressive : {false, true}) {
    CHECK(infer::DecodeRgb(WriteJpeg(rgb, JCS_RGB, progressive), kFile).size == rgb.size);
    const Image from_grey = infer::DecodeRgb(WriteJpeg(grey, JCS_GRAYSCALE, progressive), kFile);
    for (size_t i = 0; i < from_grey.pixels.size(); i += 3) {
      CHECK(from_grey.pixels[i] == from_grey.pixels[i + 1] && from_grey.pixels[i] == from_grey.pixels[i + 2]);
    }
    CHECK(infer::DecodeRgb(WriteJpeg(cmyk, JCS_CMYK, progressive), kFile).size == cmyk.size);
  }
}

TEST(PixelsGoWhereTheCallerSays) {
  const Image image = RandomImage({3, 5}, 3, 5);
  std::vector<uint8_t> memory(45);
  infer::DecodeRgb(infer::EncodePng(image), kFile, [&](const infer::Size& size) {
    CHECK(size == image.size);
    return memory.data();
  });
  CHECK(memory == image.pixels);
}

TEST(WhatIsNoImageIsNamed) {
  CHECK_ERROR(infer::DecodeRgb("", kFile), kBadInput, "street.png: is empty");
  CHECK_ERROR(infer::DecodeRgb("GIF89a", kFile), kBadInput,
              "street.png: is not a PNG or JPEG file; copy the file again");
}

TEST(TruncatedFilesAreNamed) {
  const Image image = RandomImage({30, 30}, 3, 6);
  const std::string png = infer::EncodePng(image), jpeg = WriteJpeg(image, JCS_RGB, false);
  for (size_t bytes = 8; bytes < png.size(); bytes += 7) {
    CHECK_ERROR(infer::DecodeRgb(png.substr(0, bytes), kFile), kBadInput,
                "street.png: is not a complete PNG (the file ends too early); copy the file again");
  }
  for (size_t bytes = 4; bytes < jpeg.size() - 1; bytes += 7) {
    try {
      infer::DecodeRgb(jpeg.substr(0, bytes), kFile);
      CHECK(!"a truncated JPEG was read");
    } catch (const infer::Error& error) {
      CHECK(std::string(error.what()).rfind("street.png: is not a complete JPEG (", 0) == 0);
    }
  }
}

// Four bytes, big-endian, at a place in a PNG's header, with the checksum that makes the header valid again.
std::string WithSize(std::string png, uint32_t width, uint32_t height) {
  const auto put = [&png](size_t at, uint32_t value) {
    for (int i = 0; i < 4; ++i) png[at + i] = static_cast<char>(value >> (24 - 8 * i));
  };
  put(16, width);
  put(20, height);
  uint32_t crc = 0xffffffff;
  for (size_t i = 12; i < 29; ++i) {
    crc ^= static_cast<unsigned char>(png[i]);
    for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ (crc & 1 ? 0xedb88320 : 0);
  }
  put(29, ~crc);
  return png;
}

TEST(HugeHeadersAreRefusedBeforeMemoryIsTaken) {
  const std::string png = infer::EncodePng(RandomImage({4, 4}, 3, 7));
  const std::string limits = "; expected at most 134217728 pixels, no side over 16384 or 64 times the other";
  for (const auto& [width, height] :
       {std::pair<uint32_t, uint32_t>{1000000, 1000000}, {16384, 16384}, {16385, 1024}, {16384, 255}}) {
    CHECK_ERROR(infer::DecodeRgb(WithSize(png, width, height), kFile), kBadInput,
                "street.png: says that it is " + std::to_string(width) + "x" + std::to_string(height) +
                    " (width x height)" + limits);
  }
  CHECK_ERROR(infer::DecodeRgb(WithSize(png, 8192, 8192), kFile), kBadInput,
              "street.png: is not a complete PNG (the header claims more than the file can hold); copy the file again");
}

// 60,000 damaged files: each is read, or refused with a message about that file; the sanitizers see to the rest.
TEST(MutatedImagesAreReadOrRefused) {
  const Image rgb = RandomImage({17, 19}, 3, 8), grey = RandomImage({17, 19}, 1, 9), cmyk = RandomImage({17, 19}, 4, 9);
  const std::vector<std::string> seeds = {
      infer::EncodePng(rgb),
      infer::EncodePng(grey),
      WritePng(4, 2, 2, PNG_COLOR_TYPE_PALETTE, "\x1b\x1c"),
      WritePng(3, 4, 8, PNG_COLOR_TYPE_RGB, "0123456789abcdefghijklmnopqrstuvwxyz", true),
      WriteJpeg(rgb, JCS_RGB, false),
      WriteJpeg(rgb, JCS_RGB, true),
      WriteJpeg(grey, JCS_GRAYSCALE, false),
      WriteJpeg(cmyk, JCS_CMYK, false)};
  std::mt19937 random(20240613);
  int refused = 0;
  constexpr int kRounds = 60000;
  for (int round = 0; round < kRounds; ++round) {
    std::string file = seeds[round % seeds.size()];
    for (unsigned i = 0; i < 1 + random() % 4; ++i) {
      const size_t at = random() % file.size();
      switch (random() % 4) {
        case 0:
          file[at] = static_cast<char>(random());
          break;
        case 1:
          file[at] ^= static_cast<char>(1 << random() % 8);
          break;
        case 2:
          file.erase(at, 1 + random() % 8);
          break;
        default:
          file.insert(at, file.substr(random() % file.size(), 8));
      }
      if (file.empty()) file = "x";
    }
    // A damaged checksum alone would refuse most PNG files: mend that of the header, so that its values are looked at.
    if (round % 8 < 4 && round % 3 == 0 && file.size() > 40) {
      file = WithSize(file, random() % 40, random() % 40);
    }
    for (bool as_label : {false, true}) {
      try {
        if (as_label) {
          infer::DecodeClassIds(file, kFile);
        } else {
          infer::DecodeRgb(file, kFile);
        }
      } catch (const infer::Error& error) {
        CHECK_EQUAL(static_cast<int>(error.exit_code()), static_cast<int>(kBadInput));
        CHECK(std::string(error.what()).rfind("street.png: ", 0) == 0);
        refused += as_label ? 0 : 1;
      }
    }
  }
  CHECK(refused > kRounds / 2 && refused < kRounds);
}

}  // namespace
