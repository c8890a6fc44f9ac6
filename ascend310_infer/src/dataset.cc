#include "dataset.h"

#include <algorithm>
#include <map>
#include <set>
#include <system_error>
#include <utility>

#include "error.h"
#include "files.h"
#include "image_task.h"

namespace fs = std::filesystem;

namespace infer {
namespace {

constexpr char kBinSuffix[] = "_img.bin";

bool IsBin(const fs::path& path) {
  const std::string name = path.filename().string(), suffix = kBinSuffix;
  return name.size() >= suffix.size() && name.compare(name.size() - suffix.size(), suffix.size(), suffix) == 0;
}

bool IsImage(const fs::path& path) {
  const std::string suffix = SuffixOf(path);
  return suffix == ".png" || suffix == ".jpg" || suffix == ".jpeg";
}

[[noreturn]] void FailToRead(const fs::path& path, const std::error_code& error) {
  throw Error(kBadInput, "cannot read the dataset " + path.string() + ": " + error.message());
}

std::vector<fs::path> BinFiles(const fs::path& folder) {
  std::vector<fs::path> files;
  std::error_code error;
  fs::directory_iterator entry(folder, error);
  for (; !error && entry != fs::directory_iterator(); entry.increment(error)) {
    if (IsBin(entry->path()) && !IsHidden(entry->path())) files.push_back(entry->path());
  }
  if (error) FailToRead(folder, error);
  return files;
}

// Folders that may not be entered become problems.
void FindImages(const fs::path& folder, const fs::path& result_folder, Dataset* dataset) {
  std::error_code ignored;
  std::set<fs::path> closed = {fs::weakly_canonical(result_folder, ignored)};
  for (const ResultKind& kind : kResultKinds) closed.insert(fs::weakly_canonical(result_folder / kind.name, ignored));
  FolderContent content = FilesBelow(folder, std::move(closed));
  for (const auto& [path, error] : content.unreadable) {
    if (path == folder) FailToRead(folder, error);
    dataset->problems.push_back(path.string() + ": cannot be read: " + error.message());
  }
  for (fs::path& file : content.files) {
    if (IsImage(file)) dataset->inputs.push_back(std::move(file));
  }
}

// Moves images whose results would overwrite those of another one to the problems.
void LeaveOutSameNames(Dataset* dataset) {
  std::map<std::string, fs::path> known;
  std::vector<fs::path> inputs;
  for (const fs::path& input : dataset->inputs) {
    const auto [first, is_new] = known.emplace(input.stem().string(), input);
    if (is_new) {
      inputs.push_back(input);
    } else {
      dataset->problems.push_back(input.string() + ": has the same name as " + first->second.string() +
                                  ", and so would have the same results; rename one of them");
    }
  }
  dataset->inputs = inputs;
}

}  // namespace

Dataset FindInputs(const fs::path& path, const fs::path& result_folder) {
  Dataset dataset;
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  if (!fs::exists(status)) FailToRead(path, error);
  if (!fs::is_directory(status) && !fs::is_regular_file(status)) {
    throw Error(kBadInput, path.string() + ": expected a folder or a file, found a device or a pipe");
  }
  if (!fs::is_directory(status)) {
    dataset.is_bin = IsBin(path);
    dataset.inputs = {path};
    return dataset;
  }
  dataset.inputs = BinFiles(path);
  dataset.is_bin = !dataset.inputs.empty();
  if (!dataset.is_bin) FindImages(path, result_folder, &dataset);
  if (dataset.inputs.empty()) {
    throw Error(kBadInput, "no *" + std::string(kBinSuffix) + ", .png, .jpg or .jpeg file in " + path.string());
  }
  std::sort(dataset.inputs.begin(), dataset.inputs.end());
  if (!dataset.is_bin) LeaveOutSameNames(&dataset);
  return dataset;
}

}  // namespace infer
