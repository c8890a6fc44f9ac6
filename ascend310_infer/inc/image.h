#ifndef ASCEND310_INFER_IMAGE_H_
#define ASCEND310_INFER_IMAGE_H_

#include <cstddef>
#include <cstdint>
#include <vector>

namespace infer {

struct Size {
  int height = 0;
  int width = 0;
};
inline bool operator==(const Size& a, const Size& b) { return a.height == b.height && a.width == b.width; }
inline bool operator!=(const Size& a, const Size& b) { return !(a == b); }
inline size_t Area(const Size& size) { return static_cast<size_t>(size.height) * static_cast<size_t>(size.width); }

// Bytes in rows from the top, `channels` for each pixel: 3 (RGB) or 1 (class ids).
struct Image {
  Image() = default;
  Image(const Size& of, int per_pixel) : size(of), channels(per_pixel), pixels(Area(of) * per_pixel) {}
  uint8_t* row(int y) { return pixels.data() + static_cast<size_t>(y) * size.width * channels; }
  const uint8_t* row(int y) const { return pixels.data() + static_cast<size_t>(y) * size.width * channels; }

  Size size;
  int channels = 0;
  std::vector<uint8_t> pixels;
};

}  // namespace infer

#endif  // ASCEND310_INFER_IMAGE_H_
