// Takes the place of the decoders in a build without libpng and libjpeg.
#include "error.h"
#include "image_codec.h"

namespace infer {

void CheckImageSupport() {
  throw Error(
      kFailed,
      "this build reads .bin files only, because libpng or libjpeg was not found: install both (Debian, Ubuntu: "
      "apt install libpng-dev libjpeg-dev) and build again, or let preprocess.py write .bin files");
}

void DecodeRgb(const std::string&, const std::filesystem::path&, const PlaceRgb&) { CheckImageSupport(); }

Image DecodeRgb(const std::string&, const std::filesystem::path&) {
  CheckImageSupport();
  return {};
}

Image DecodeClassIds(const std::string&, const std::filesystem::path&) {
  CheckImageSupport();
  return {};
}

std::string EncodePng(const Image&) {
  CheckImageSupport();
  return {};
}

}  // namespace infer
