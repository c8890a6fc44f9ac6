#include "scorer.h"

#include <stdexcept>
#include <system_error>
#include <vector>

#include "error.h"
#include "files.h"
#include "image_codec.h"

namespace fs = std::filesystem;

namespace infer {
namespace {

constexpr size_t kMostLabelBytes = 1 << 28;

// The text without `end`; the text itself if it does not end so.
std::string WithoutEnd(const std::string& text, const std::string& end) {
  const bool ends_so = text.size() > end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
  return ends_so ? text.substr(0, text.size() - end.size()) : text;
}

Image ReadLabel(const fs::path& path, const Size& size) {
  Image label;
  if (path.extension() == ".bin") {
    label = Image(size, 1);
    ReadExactly(path, {label.pixels.data(), label.pixels.size()});
  } else {
    label = DecodeClassIds(ReadUpTo(path, kMostLabelBytes), path);
  }
  if (label.size != size) {
    throw Error(kBadInput, path.string() + ": is " + std::to_string(label.size.width) + "x" +
                               std::to_string(label.size.height) + ", expected the size of its image, " +
                               std::to_string(size.width) + "x" + std::to_string(size.height));
  }
  return label;
}

}  // namespace

Scorer::Scorer(const fs::path& label_path, const Metadata& metadata)
    : label_path_(label_path),
      metadata_(metadata),
      matrix_(static_cast<int>(metadata.classes.size()), metadata.ignore_label) {
  std::error_code error;
  fs::recursive_directory_iterator entry(label_path, fs::directory_options::follow_directory_symlink, error);
  for (; !error && entry != fs::recursive_directory_iterator(); entry.increment(error)) {
    labels_.emplace(entry->path().filename().string(), entry->path());
  }
  if (error) throw Error(kBadInput, "cannot read the label folder " + label_path.string() + ": " + error.message());
}

void Scorer::Score(const fs::path& input, const Image& class_map) {
  const fs::path path = LabelOf(input);
  const Image label = ReadLabel(path, class_map.size);
  ConfusionMatrix counts(static_cast<int>(metadata_.classes.size()), metadata_.ignore_label);
  try {
    counts.Add(class_map, label);
  } catch (const std::runtime_error& error) {
    throw Error(kBadInput, path.string() + ": " + error.what());
  }
  const std::lock_guard<std::mutex> lock(mutex_);
  matrix_.Add(counts);
}

fs::path Scorer::LabelOf(const fs::path& input) const {
  const std::string stem = WithoutEnd(input.stem().string(), input.extension() == ".bin" ? "_img" : "");
  const std::string name = WithoutEnd(stem, "_leftImg8bit");
  const std::vector<std::string> candidates = {stem + "_label.bin", stem + ".png",
                                               stem + "_label.png", name + "_label.bin",
                                               name + "_label.png", name + "_gtFine_labelTrainIds.png"};
  for (const std::string& candidate : candidates) {
    const auto found = labels_.find(candidate);
    if (found != labels_.end() && found->second != input) return found->second;
  }
  const bool has_ids = labels_.count(name + "_gtFine_labelIds.png") != 0;
  throw Error(kBadInput,
              input.string() + ": has no label in " + label_path_.string() + ", expected " + candidates[0] + ", " +
                  candidates[1] + " or " + candidates.back() +
                  (has_ids ? "; its labelIds file has no train ids: cityscapesscripts' createTrainIdLabelImgs "
                             "or preprocess.py makes them"
                           : ""));
}

}  // namespace infer
