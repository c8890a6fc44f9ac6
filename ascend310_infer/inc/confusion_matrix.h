#ifndef ASCEND310_INFER_CONFUSION_MATRIX_H_
#define ASCEND310_INFER_CONFUSION_MATRIX_H_

#include <cstdint>
#include <string>
#include <vector>

#include "image.h"

namespace infer {

// Counts how often each label was predicted as each class, over all images: the same scores as eval.py and cal_mIoU.py.
// A prediction that is no class counts against the label's class; a class in neither labels nor predictions is left out
// of the mean.
class ConfusionMatrix {
 public:
  // 1 <= classes <= ignore_label <= 255.
  ConfusionMatrix(int classes, int ignore_label);

  // Both of 1 channel and the same size. Throws std::runtime_error, and counts nothing, if a label is neither a class
  // nor ignored.
  void Add(const Image& prediction, const Image& label);

  // Counts what another matrix, of the same classes, has counted.
  void Add(const ConfusionMatrix& other);

  int64_t count(int label, int prediction) const { return counts_[label * (classes_ + 1) + prediction]; }

  // 0..1; NaN for a class that is absent, or if nothing was counted.
  double Iou(int k) const;
  double MeanIou() const;
  double PixelAccuracy() const;

  // The table that eval.py writes: the IoU of each class in per cent, then mIoU and pixAcc.
  std::string Summary(const std::vector<std::string>& class_names) const;

 private:
  const int classes_;
  const int ignore_label_;
  std::vector<int64_t> counts_;  // [label][prediction]; the last column is what is no class
};

}  // namespace infer

#endif  // ASCEND310_INFER_CONFUSION_MATRIX_H_
