#include "image_codec.h"

#include <algorithm>

#include "image_decoders.h"

namespace infer {

void CheckImageSupport() {}

void CheckImageSize(const std::filesystem::path& file, int64_t height, int64_t width) {
  constexpr int64_t kLongestSide = 16384, kMostPixels = 1 << 27, kLargestRatio = 64;
  const auto [shorter, longer] = std::minmax(height, width);
  if (shorter > 0 && longer <= kLongestSide && longer <= kLargestRatio * shorter && shorter * longer <= kMostPixels) {
    return;
  }
  FailToDecode(file, "says that it is " + std::to_string(width) + "x" + std::to_string(height) +
                         " (width x height); expected at most " + std::to_string(kMostPixels) +
                         " pixels, no side over " + std::to_string(kLongestSide) + " or " +
                         std::to_string(kLargestRatio) + " times the other");
}

void DecodeRgb(const std::string& content, const std::filesystem::path& file, const PlaceRgb& place) {
  if (content.empty()) FailToDecode(file, "is empty");
  if (IsPng(content)) return DecodePng(content, file, place);
  if (IsJpeg(content)) return DecodeJpeg(content, file, place);
  FailToDecode(file, "is not a PNG or JPEG file; copy the file again");
}

Image DecodeRgb(const std::string& content, const std::filesystem::path& file) {
  Image image;
  DecodeRgb(content, file, [&](const Size& size) {
    image = Image(size, 3);
    return image.pixels.data();
  });
  return image;
}

}  // namespace infer
