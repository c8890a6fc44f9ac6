#ifndef ASCEND310_INFER_LETTERBOX_H_
#define ASCEND310_INFER_LETTERBOX_H_

#include "image.h"

namespace infer {

// Where an image is in a model's input: at the top left, `valid` of it. `original` is the image's own size.
struct Placement {
  Size valid;
  Size original;
};

// The largest size of the same aspect ratio that fits into `target`; what is left at the bottom or the right is
// padding.
Placement Letterbox(const Size& original, const Size& target);

// `rgb` (3 channels) at another size, bilinear, as cv2.resize(..., INTER_LINEAR) computes it.
Image ResizeBilinear(const Image& rgb, const Size& size);

// `classes` (1 channel) at another size, nearest, as cv2.resize(..., INTER_NEAREST_EXACT) computes it.
Image ResizeNearest(const Image& classes, const Size& size);

}  // namespace infer

#endif  // ASCEND310_INFER_LETTERBOX_H_
