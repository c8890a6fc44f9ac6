#ifndef ASCEND310_INFER_BIN_TASK_H_
#define ASCEND310_INFER_BIN_TASK_H_

#include <filesystem>
#include <string>

#include "image_task.h"

namespace infer {

// The .bin contract: "<stem>_img.bin" holds one image exactly as the model takes it, "<stem>_img_<i>.bin" becomes
// output number i of it, as the model gives it.
class BinTask : public ImageTask {
 public:
  explicit BinTask(std::filesystem::path result_folder) : result_folder_(std::move(result_folder)) {}

  void Prepare(Sample* sample, const TensorView& input) override;
  void Finish(Sample* sample, const std::vector<ConstTensorView>& outputs) override;
  void End() override;

 private:
  const std::filesystem::path result_folder_;
};

// "<stem>_img.bin", 0 -> "<stem>_img_0.bin"
std::string BinResultName(const std::filesystem::path& input, size_t index);

}  // namespace infer

#endif  // ASCEND310_INFER_BIN_TASK_H_
