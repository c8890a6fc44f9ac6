#ifndef ASCEND310_INFER_DATASET_H_
#define ASCEND310_INFER_DATASET_H_

#include <filesystem>
#include <string>
#include <vector>

namespace infer {

// What --dataset_path names.
struct Dataset {
  bool is_bin = false;                        // "<stem>_img.bin" files; otherwise PNG and JPEG images
  std::vector<std::filesystem::path> inputs;  // sorted by path
  std::vector<std::string> problems;          // one message for each file or folder that is left out
};

// `path` is a file or a folder. In a folder that holds "<stem>_img.bin" files these are the inputs; otherwise the .png,
// .jpg and .jpeg files in it and in the folders below it, links to folders included, each folder once. Hidden files do
// not count, nor what is in `result_folder`, of which only the folders of results are left out if it is `path` itself.
// Two images of the same name would have the same results, so the second one is left out. Throws Error(kBadInput) if
// the path is missing, cannot be read or has no input.
Dataset FindInputs(const std::filesystem::path& path, const std::filesystem::path& result_folder);

}  // namespace infer

#endif  // ASCEND310_INFER_DATASET_H_
