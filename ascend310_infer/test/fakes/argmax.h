#ifndef ASCEND310_INFER_TEST_FAKES_ARGMAX_H_
#define ASCEND310_INFER_TEST_FAKES_ARGMAX_H_

#include <cstdint>
#include <vector>

// What the fakes compute, as a segmentation model does at its end: the class of the highest score.
// scores (batch, classes, pixels) float32 -> (batch, pixels) uint8; the first class wins a tie.
inline void Argmax(const float* scores, const std::vector<int64_t>& shape, uint8_t* classes) {
  const int64_t class_count = shape[1], pixels = shape[2];
  for (int64_t image = 0; image < shape[0]; ++image) {
    for (int64_t pixel = 0; pixel < pixels; ++pixel) {
      const float* score = scores + image * class_count * pixels + pixel;
      int64_t best = 0;
      for (int64_t c = 1; c < class_count; ++c) {
        if (score[c * pixels] > score[best * pixels]) best = c;
      }
      classes[image * pixels + pixel] = static_cast<uint8_t>(best);
    }
  }
}

#endif  // ASCEND310_INFER_TEST_FAKES_ARGMAX_H_
