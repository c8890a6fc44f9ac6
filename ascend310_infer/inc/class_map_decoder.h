#ifndef ASCEND310_INFER_CLASS_MAP_DECODER_H_
#define ASCEND310_INFER_CLASS_MAP_DECODER_H_

#include <filesystem>
#include <vector>

#include "image.h"
#include "metadata.h"
#include "tensor.h"

namespace infer {

// Turns the output of a model, whatever its kind, into class maps. May be used from several threads at a time.
class ClassMapDecoder {
 public:
  // `type` is that of the model's output: float16 and float32 are both known. `threads` work on one image.
  ClassMapDecoder(const Metadata& metadata, ElementType type, int threads);

  // The class of each pixel in the top left `part` of the model's input. Throws Error(kBadInput) if scores are not
  // finite, Error(kFailed) if `output`, that of one image, has the wrong size; both name the image's `file`.
  Image Decode(const ConstTensorView& output, const Size& part, const std::filesystem::path& file) const;

 private:
  Image DecodeUnnamed(const ConstTensorView& output, const Size& part) const;

  const Metadata metadata_;
  const ElementType type_;
  const int threads_;
};

// float32 values of IEEE 754 half-precision numbers.
std::vector<float> HalfToFloat(const uint16_t* halves, size_t count);

}  // namespace infer

#endif  // ASCEND310_INFER_CLASS_MAP_DECODER_H_
