#include "input_filler.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "error.h"

namespace infer {

InputFiller::InputFiller(const Metadata& metadata) : type_(metadata.input_type), size_(metadata.size) {
  for (int c = 0; c < 3; ++c) {
    padding_[c] = static_cast<uint8_t>(std::nearbyint(255 * metadata.mean[c]));
    // The arithmetic of the networks' graph and of preprocess.py: factors in double precision, applied in float32.
    const float scale = static_cast<float>(1 / (255 * metadata.std[c]));
    const float shift = static_cast<float>(-metadata.mean[c] / metadata.std[c]);
    for (int value = 0; value < 256; ++value) normalized_[c][value] = static_cast<float>(value) * scale + shift;
  }
}

void InputFiller::Fill(const Image& rgb, const TensorView& input) const {
  const size_t values = 3 * Area(size_);
  if (input.bytes != values * SizeOf(type_) || rgb.size.height > size_.height || rgb.size.width > size_.width) {
    throw Error(kFailed, "an image does not fit into the model's input");
  }
  if (type_ == ElementType::kUint8) {
    FillBytes(rgb, static_cast<uint8_t*>(input.data));
  } else {
    FillFloats(rgb, static_cast<float*>(input.data));
  }
}

uint8_t* InputFiller::PlaceFor(const Size& size, const TensorView& input) const {
  return type_ == ElementType::kUint8 && size == size_ ? static_cast<uint8_t*>(input.data) : nullptr;
}

void InputFiller::FillBytes(const Image& rgb, uint8_t* to) const {
  for (int y = 0; y < size_.height; ++y) {
    const int width = y < rgb.size.height ? rgb.size.width : 0;
    if (width > 0) std::memcpy(to, rgb.row(y), 3 * static_cast<size_t>(width));
    to += 3 * width;
    for (int x = width; x < size_.width; ++x) to = std::copy(padding_.begin(), padding_.end(), to);
  }
}

void InputFiller::FillFloats(const Image& rgb, float* to) const {
  for (int c = 0; c < 3; ++c) {
    const std::array<float, 256>& table = normalized_[c];
    for (int y = 0; y < size_.height; ++y) {
      const int width = y < rgb.size.height ? rgb.size.width : 0;
      const uint8_t* from = width > 0 ? rgb.row(y) + c : nullptr;
      for (int x = 0; x < width; ++x) to[x] = table[from[3 * x]];
      std::fill(to + width, to + size_.width, table[padding_[c]]);
      to += size_.width;
    }
  }
}

}  // namespace infer
