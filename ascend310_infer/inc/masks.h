#ifndef ASCEND310_INFER_MASKS_H_
#define ASCEND310_INFER_MASKS_H_

#include <vector>

#include "image.h"
#include "metadata.h"

namespace infer {

// The colour of each pixel's class, RGB; black where it is no class.
Image Colorize(const Image& class_map, const std::vector<Rgb>& palette);

// Half the image, half the colours of the classes; the image alone where a pixel is no class. Same size.
Image Overlay(const Image& rgb, const Image& class_map, const std::vector<Rgb>& palette);

}  // namespace infer

#endif  // ASCEND310_INFER_MASKS_H_
