#ifndef ASCEND310_INFER_TASK_H_
#define ASCEND310_INFER_TASK_H_

#include <cstddef>
#include <filesystem>
#include <vector>

#include "image.h"
#include "letterbox.h"
#include "tensor.h"
#include "timing.h"

namespace infer {

// An image on its way through the pipeline.
struct Sample {
  double& time(Stage stage) { return times[static_cast<size_t>(stage)]; }

  const std::filesystem::path* file = nullptr;
  size_t index = 0;     // in the list of inputs
  Placement placement;  // of the image in the model's input
  Image image;          // RGB at its own size, if the results need it
  StageTimes times{};
};

// What is done with each image before and after the model. Prepare and Finish are called from several threads at a
// time.
class Task {
 public:
  virtual ~Task() = default;

  // Reads *sample->file and fills `input`, the image's part of the model's input. Throws Error(kBadInput) if the file
  // is of no use.
  virtual void Prepare(Sample* sample, const TensorView& input) = 0;

  // Uses `outputs`, the image's part of each output of the model. Throws Error(kBadInput) if they are of no use, which
  // leaves out this image only, or Error(kFailed).
  virtual void Finish(Sample* sample, const std::vector<ConstTensorView>& outputs) = 0;

  // After the last Finish.
  virtual void End() {}
};

}  // namespace infer

#endif  // ASCEND310_INFER_TASK_H_
