#ifndef ASCEND310_INFER_IMAGE_CODEC_H_
#define ASCEND310_INFER_IMAGE_CODEC_H_

#include <filesystem>
#include <functional>
#include <string>

#include "image.h"

namespace infer {

// Throws Error(kFailed), which says what to install, if this build has no libpng and libjpeg.
void CheckImageSupport();

// Called with an image's size as soon as it is known; returns where its RGB pixels, in rows without gaps, are to go.
using PlaceRgb = std::function<uint8_t*(const Size&)>;

// Decodes a PNG or JPEG file, whatever its name says, to the RGB pixels that OpenCV gives: grey becomes three equal
// channels, 16 bits the higher eight, a palette its colours, CMYK is converted, transparency and EXIF are ignored.
// Throws Error(kBadInput), which names `file`, if `content` is not a complete, undamaged image of a bearable size.
void DecodeRgb(const std::string& content, const std::filesystem::path& file, const PlaceRgb& place);

// The same as a new image of 3 channels.
Image DecodeRgb(const std::string& content, const std::filesystem::path& file);

// Decodes a PNG file of class ids: 8-bit grey values, or the indices of a palette. 1 channel. Throws as above.
Image DecodeClassIds(const std::string& content, const std::filesystem::path& file);

// A PNG file of class ids (1 channel) or RGB (3 channels), compressed for speed.
std::string EncodePng(const Image& image);

}  // namespace infer

#endif  // ASCEND310_INFER_IMAGE_CODEC_H_
