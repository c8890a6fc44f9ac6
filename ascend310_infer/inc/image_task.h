#ifndef ASCEND310_INFER_IMAGE_TASK_H_
#define ASCEND310_INFER_IMAGE_TASK_H_

#include <filesystem>
#include <string>

#include "class_map_decoder.h"
#include "input_filler.h"
#include "metadata.h"
#include "scorer.h"
#include "task.h"

namespace infer {

// Which results are written for each image.
struct Results {
  bool class_map = true;  // class_map/<name>_class_map.png: grey, the class of each pixel
  bool mask = false;      // mask/<name>_mask.png: the colour of each pixel's class
  bool overlay = false;   // overlay/<name>_overlay.png: the colours over the image
};

// `name` is the word of --save, the folder, and the end of the files' names.
struct ResultKind {
  const char* name;
  bool Results::* wanted;
};
constexpr ResultKind kResultKinds[] = {
    {"class_map", &Results::class_map}, {"mask", &Results::mask}, {"overlay", &Results::overlay}};

// PNG and JPEG images in, class maps at each image's own size out.
class ImageTask : public Task {
 public:
  // `scorer` may be nullptr. Makes the folders of the results; throws Error(kFailed) if that is not possible.
  ImageTask(const Metadata& metadata, const ClassMapDecoder& decoder, const Results& results,
            std::filesystem::path result_folder, Scorer* scorer);

  void Prepare(Sample* sample, const TensorView& input) override;
  void Finish(Sample* sample, const std::vector<ConstTensorView>& outputs) override;
  void End() override;

 private:
  void Write(const std::string& kind, const std::filesystem::path& input, const Image& image) const;

  const Metadata metadata_;
  const ClassMapDecoder decoder_;
  const InputFiller filler_;
  const Results results_;
  const std::filesystem::path result_folder_;
  Scorer* const scorer_;
};

}  // namespace infer

#endif  // ASCEND310_INFER_IMAGE_TASK_H_
