#ifndef ASCEND310_INFER_UPSAMPLED_ARGMAX_H_
#define ASCEND310_INFER_UPSAMPLED_ARGMAX_H_

#include "image.h"

namespace infer {

// Class scores as a network gives them: float32 (classes, height, width).
struct LogitsView {
  const float* data;
  int classes;  // 1 to 256
  Size size;
};

struct Upsampling {
  Size size;                   // to which the logits are enlarged
  bool align_corners = false;  // as of PyTorch's interpolate(mode="bilinear")
  int threads = 1;
};

// The class of each pixel of bilinearly enlarged logits: argmax(interpolate(logits, size)), the first of equal classes,
// without computing the enlarged logits. `part` says how much of the result is wanted, from the top left corner: a
// class map of that size is returned. Throws Error(kBadInput) if a score is NaN or infinite.
//
// Each new pixel is a mean of four scores, its corners, with the same weights for every class. So a class that is best
// in all four corners is best everywhere between them, and only the pixels between corners that differ are computed.
// Where two classes are equal but for the rounding of float32, the other one may win than in the full computation.
Image UpsampledArgmax(const LogitsView& logits, const Upsampling& upsampling, const Size& part);

// argmax(logits), the first of equal classes, of the same part. Throws as above.
Image Argmax(const LogitsView& logits, const Size& part);

}  // namespace infer

#endif  // ASCEND310_INFER_UPSAMPLED_ARGMAX_H_
