#ifndef ASCEND310_INFER_BIN_TASK_H_
#define ASCEND310_INFER_BIN_TASK_H_

#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "class_map_decoder.h"
#include "scorer.h"
#include "task.h"

namespace infer {

// The .bin contract: "<stem>_img.bin" holds one image exactly as the model takes it, "<stem>_img_<i>.bin" becomes
// output number i of it, as the model gives it. Only head logits, which nothing else reads, become a class map.
class BinTask : public Task {
 public:
  explicit BinTask(std::filesystem::path result_folder) : result_folder_(std::move(result_folder)) {}

  // For a model with metadata. `scorer` may be nullptr.
  BinTask(std::filesystem::path result_folder, const Metadata& metadata, const ClassMapDecoder& decoder, Scorer* scorer)
      : result_folder_(std::move(result_folder)),
        decoder_(decoder),
        scorer_(scorer),
        size_(metadata.size),
        writes_class_map_(metadata.output == OutputKind::kHeadLogits) {}

  void Prepare(Sample* sample, const TensorView& input) override;
  void Finish(Sample* sample, const std::vector<ConstTensorView>& outputs) override;
  void End() override;

 private:
  const std::filesystem::path result_folder_;
  const std::optional<ClassMapDecoder> decoder_;
  Scorer* const scorer_ = nullptr;
  const Size size_;  // of the model's input
  const bool writes_class_map_ = false;
};

// "<stem>_img.bin", 0 -> "<stem>_img_0.bin"
std::string BinResultName(const std::filesystem::path& input, size_t index);

}  // namespace infer

#endif  // ASCEND310_INFER_BIN_TASK_H_
