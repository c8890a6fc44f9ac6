#ifndef ASCEND310_INFER_SRC_IMAGE_DECODERS_H_
#define ASCEND310_INFER_SRC_IMAGE_DECODERS_H_

// What the decoders of image_codec.cc share.

#include "error.h"
#include "image_codec.h"

namespace infer {

[[noreturn]] inline void FailToDecode(const std::filesystem::path& file, const std::string& what) {
  throw Error(kBadInput, file.string() + ": " + what);
}

// Refuses a size that would fill the memory, as the Python programs do: a few bytes can claim any size.
void CheckImageSize(const std::filesystem::path& file, int64_t height, int64_t width);

bool IsPng(const std::string& content);
bool IsJpeg(const std::string& content);

void DecodePng(const std::string& content, const std::filesystem::path& file, const PlaceRgb& place);
void DecodeJpeg(const std::string& content, const std::filesystem::path& file, const PlaceRgb& place);

}  // namespace infer

#endif  // ASCEND310_INFER_SRC_IMAGE_DECODERS_H_
