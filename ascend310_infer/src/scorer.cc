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

bool EndsWith(const std::string& text, const std::string& end) {
  return text.size() > end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
}

// The text without `end`; the text itself if it does not end so.
std::string WithoutEnd(const std::string& text, const std::string& end) {
  return EndsWith(text, end) ? text.substr(0, text.size() - end.size()) : text;
}

// Whatever the two paths look like.
bool IsSameFile(const fs::path& a, const fs::path& b) {
  std::error_code ignored;
  return fs::equivalent(a, b, ignored);
}

// The file among `paths` that is not the image itself; empty: there is none.
fs::path OnlyLabel(const std::set<fs::path>& paths, const fs::path& input) {
  fs::path label;
  for (const fs::path& path : paths) {
    if (IsSameFile(path, input) || IsSameFile(path, label)) continue;
    if (!label.empty()) {
      throw Error(kBadInput, input.string() + ": has two labels, " + label.string() + " and " + path.string() +
                                 "; give --label_path the folder of one of them");
    }
    label = path;
  }
  return label;
}

// The class of each value in a label; empty if there are no label ids.
std::vector<uint8_t> ClassOfId(const std::vector<int>& label_ids, const Metadata& metadata) {
  if (label_ids.empty()) return {};
  if (label_ids.size() != metadata.classes.size()) {
    throw Error(kUsage, "--label_ids expects one number for each of the model's " +
                            std::to_string(metadata.classes.size()) + " classes, found " +
                            std::to_string(label_ids.size()));
  }
  std::vector<uint8_t> class_of_id(256, static_cast<uint8_t>(metadata.ignore_label));
  for (size_t k = 0; k < label_ids.size(); ++k) class_of_id.at(label_ids[k]) = static_cast<uint8_t>(k);
  return class_of_id;
}

// By file name, the suffix in small letters.
std::map<std::string, std::set<fs::path>> LabelsBelow(const fs::path& folder) {
  const FolderContent content = FilesBelow(folder, {});
  if (!content.unreadable.empty()) {
    throw Error(kBadInput,
                "cannot read the label folder " + folder.string() + ": " + content.unreadable[0].second.message());
  }
  std::map<std::string, std::set<fs::path>> labels;
  for (const fs::path& file : content.files) labels[file.stem().string() + SuffixOf(file)].insert(file);
  return labels;
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

Scorer::Scorer(const fs::path& label_path, const Metadata& metadata, const std::vector<int>& label_ids)
    : label_path_(label_path),
      metadata_(metadata),
      class_of_id_(ClassOfId(label_ids, metadata)),
      labels_(LabelsBelow(label_path)),
      matrix_(static_cast<int>(metadata.classes.size()), metadata.ignore_label) {}

void Scorer::Score(const fs::path& input, const Image& class_map) {
  const fs::path path = LabelOf(input);
  Image label = ReadLabel(path, class_map.size);
  MapToClasses(&label, path);
  ConfusionMatrix counts(static_cast<int>(metadata_.classes.size()), metadata_.ignore_label);
  try {
    counts.Add(class_map, label);
  } catch (const std::runtime_error& error) {
    throw Error(kBadInput, path.string() + ": " + error.what());
  }
  const std::lock_guard<std::mutex> lock(mutex_);
  matrix_.Add(counts);
}

void Scorer::MapToClasses(Image* label, const fs::path& path) const {
  // What preprocess.py writes, and what is called so, are train ids already.
  if (class_of_id_.empty() || path.extension() == ".bin" || EndsWith(path.stem().string(), "_labelTrainIds")) return;
  for (uint8_t& value : label->pixels) value = class_of_id_[value];
}

fs::path Scorer::LabelOf(const fs::path& input) const {
  const std::string stem = WithoutEnd(input.stem().string(), input.extension() == ".bin" ? "_img" : "");
  const std::string name = WithoutEnd(stem, "_leftImg8bit");
  std::vector<std::string> candidates = {stem + "_label.bin", stem + ".png", stem + "_label.png", name + "_label.bin",
                                         name + "_label.png"};
  const std::string ids = name + "_gtFine_labelIds.png";
  if (!class_of_id_.empty()) candidates.push_back(ids);
  candidates.push_back(name + "_gtFine_labelTrainIds.png");
  for (const std::string& candidate : candidates) {
    const auto found = labels_.find(candidate);
    if (found == labels_.end()) continue;
    const fs::path label = OnlyLabel(found->second, input);
    if (!label.empty()) return label;
  }
  throw Error(kBadInput, input.string() + ": has no label in " + label_path_.string() + ", expected " + candidates[0] +
                             ", " + candidates[1] + " or " + candidates.back() +
                             (labels_.count(ids) != 0 ? "; found " + ids + ", which needs --label_ids" : ""));
}

}  // namespace infer
