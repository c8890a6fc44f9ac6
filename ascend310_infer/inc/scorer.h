#ifndef ASCEND310_INFER_SCORER_H_
#define ASCEND310_INFER_SCORER_H_

#include <filesystem>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "confusion_matrix.h"
#include "image.h"
#include "metadata.h"

namespace infer {

// Compares class maps with labels and keeps the score. Score may be called from several threads at a time.
//
// The label of "<name>.png" (or .jpg, or "<name>_img.bin") is the first of these in `label_path` or below it, links to
// folders included, that is not the image itself:
// "<name>_label.bin", "<name>.png", "<name>_label.png", "<name>_gtFine_labelTrainIds.png"; where <name> ends in
// "_leftImg8bit", as in Cityscapes, also without that. Labels are .bin files, uint8 (height, width), or .png files,
// grey values or palette indices. They hold train ids; or, with `label_ids`, which has the value of each class, any
// values, of which those that are no class are ignored, and "<name>_gtFine_labelIds.png" comes before the train ids.
class Scorer {
 public:
  // Throws Error(kBadInput) if the folder cannot be read, Error(kUsage) unless there are no label ids or one per class.
  Scorer(const std::filesystem::path& label_path, const Metadata& metadata, const std::vector<int>& label_ids);

  // Counts the pixels of an image. Throws Error(kBadInput) if it has no label, two of the same name, or one that is
  // damaged, of another size or of other ids.
  void Score(const std::filesystem::path& input, const Image& class_map);

  const ConfusionMatrix& matrix() const { return matrix_; }

 private:
  std::filesystem::path LabelOf(const std::filesystem::path& input) const;
  void MapToClasses(Image* label, const std::filesystem::path& path) const;

  const std::filesystem::path label_path_;
  const Metadata metadata_;
  const std::vector<uint8_t> class_of_id_;  // of each value in a .png label; empty: they are train ids
  const std::map<std::string, std::set<std::filesystem::path>> labels_;  // by file name
  std::mutex mutex_;
  ConfusionMatrix matrix_;
};

}  // namespace infer

#endif  // ASCEND310_INFER_SCORER_H_
