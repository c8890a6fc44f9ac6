#include "masks.h"

#include <algorithm>
#include <array>
#include <stdexcept>

namespace infer {

Image Colorize(const Image& class_map, const std::vector<Rgb>& palette) {
  std::array<Rgb, 256> colors{};
  std::copy(palette.begin(), palette.end(), colors.begin());
  Image result(class_map.size, 3);
  uint8_t* to = result.pixels.data();
  for (const uint8_t k : class_map.pixels) {
    for (const uint8_t part : colors[k]) *to++ = part;
  }
  return result;
}

Image Overlay(const Image& rgb, const Image& class_map, const std::vector<Rgb>& palette) {
  if (rgb.size != class_map.size) throw std::invalid_argument("image and class map differ in size");
  Image result = Colorize(class_map, palette);
  for (size_t i = 0; i < result.pixels.size(); ++i) {
    const bool is_class = class_map.pixels[i / 3] < palette.size();
    result.pixels[i] = is_class ? static_cast<uint8_t>((rgb.pixels[i] + result.pixels[i]) / 2) : rgb.pixels[i];
  }
  return result;
}

}  // namespace infer
