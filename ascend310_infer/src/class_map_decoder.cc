#include "class_map_decoder.h"

#include <algorithm>
#include <cstring>

#include "error.h"
#include "upsampled_argmax.h"

namespace infer {

ClassMapDecoder::ClassMapDecoder(const Metadata& metadata, ElementType type, int threads)
    : metadata_(metadata), type_(type), threads_(threads) {}

Image ClassMapDecoder::Decode(const ConstTensorView& output, const Size& part,
                              const std::filesystem::path& file) const {
  try {
    return DecodeUnnamed(output, part);
  } catch (const Error& error) {
    throw Error(error.exit_code(), file.string() + ": " + error.what());
  }
}

Image ClassMapDecoder::DecodeUnnamed(const ConstTensorView& output, const Size& part) const {
  const bool is_class_map = metadata_.output == OutputKind::kClassMap;
  const size_t elements = Area(metadata_.output_size) * (is_class_map ? 1 : metadata_.classes.size());
  if (output.bytes != elements * SizeOf(type_)) {
    throw Error(kFailed, "expected an output of " + std::to_string(elements * SizeOf(type_)) + " bytes, found " +
                             std::to_string(output.bytes));
  }
  if (is_class_map) {
    Image map(part, 1);
    const auto* classes = static_cast<const uint8_t*>(output.data);
    for (int y = 0; y < part.height; ++y) {
      std::copy_n(classes + static_cast<size_t>(y) * metadata_.size.width, part.width, map.row(y));
    }
    return map;
  }
  std::vector<float> converted;
  const float* scores = static_cast<const float*>(output.data);
  if (type_ == ElementType::kFloat16) {
    converted = HalfToFloat(static_cast<const uint16_t*>(output.data), elements);
    scores = converted.data();
  }
  const LogitsView logits{scores, static_cast<int>(metadata_.classes.size()), metadata_.output_size};
  if (metadata_.output == OutputKind::kLogits) return Argmax(logits, part);
  return UpsampledArgmax(logits, {metadata_.size, metadata_.align_corners, threads_}, part);
}

std::vector<float> HalfToFloat(const uint16_t* halves, size_t count) {
  std::vector<float> floats(count);
  for (size_t i = 0; i < count; ++i) {
    const uint32_t sign = (halves[i] & 0x8000u) << 16, rest = halves[i] & 0x7fffu;
    // The exponent is moved to its place and gets the difference of the biases, by a multiplication that also gives
    // numbers below the smallest normal one their value.
    const uint32_t shifted = rest << 13;
    float magnitude;
    std::memcpy(&magnitude, &shifted, sizeof(magnitude));
    magnitude *= 0x1p112f;
    uint32_t bits;
    std::memcpy(&bits, &magnitude, sizeof(bits));
    if (rest >= 0x7c00u) bits |= 0x7f800000u;  // infinity or NaN
    bits |= sign;
    std::memcpy(&floats[i], &bits, sizeof(bits));
  }
  return floats;
}

}  // namespace infer
