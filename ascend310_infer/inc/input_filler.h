#ifndef ASCEND310_INFER_INPUT_FILLER_H_
#define ASCEND310_INFER_INPUT_FILLER_H_

#include <array>

#include "image.h"
#include "letterbox.h"
#include "metadata.h"
#include "tensor.h"

namespace infer {

// Writes images into a model's input, as its metadata says: padded with the mean colour at the bottom and the right;
// uint8 as they are, float32 normalised and in planes.
class InputFiller {
 public:
  explicit InputFiller(const Metadata& metadata);

  // `rgb` is not larger than the model's input.
  void Fill(const Image& rgb, const TensorView& input) const;

  // Where an image of exactly the model's size can be decoded without a copy; nullptr if it must be normalised first.
  uint8_t* PlaceFor(const Size& size, const TensorView& input) const;

 private:
  void FillBytes(const Image& rgb, uint8_t* to) const;
  void FillFloats(const Image& rgb, float* to) const;

  const ElementType type_;
  const Size size_;
  Rgb padding_{};
  std::array<std::array<float, 256>, 3> normalized_{};  // of each byte, by channel
};

}  // namespace infer

#endif  // ASCEND310_INFER_INPUT_FILLER_H_
