#include "confusion_matrix.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <functional>
#include <limits>
#include <stdexcept>

namespace infer {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

std::string Row(const std::string& name, size_t width, const std::string& score) {
  return name + std::string(width - name.size(), ' ') + std::string(9 - score.size(), ' ') + score + "\n";
}

std::string Percent(double score) {
  if (std::isnan(score)) return "n/a";
  char text[32];
  std::snprintf(text, sizeof(text), "%.2f", 100 * score);
  return text;
}

// As Python counts the width of a text, but for combining characters.
size_t CountCharacters(const std::string& utf8) {
  return std::count_if(utf8.begin(), utf8.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; });
}

}  // namespace

ConfusionMatrix::ConfusionMatrix(int classes, int ignore_label)
    : classes_(classes), ignore_label_(ignore_label), counts_(static_cast<size_t>(classes) * (classes + 1)) {}

void ConfusionMatrix::Add(const Image& prediction, const Image& label) {
  if (prediction.size != label.size) throw std::invalid_argument("prediction and label differ in size");
  std::vector<int64_t> pairs(256 * 256);
  for (size_t i = 0; i < label.pixels.size(); ++i) ++pairs[label.pixels[i] * 256 + prediction.pixels[i]];
  for (int k = classes_; k < 256; ++k) {
    if (k == ignore_label_) continue;
    if (std::any_of(&pairs[k * 256], &pairs[k * 256] + 256, [](int64_t count) { return count != 0; })) {
      throw std::runtime_error("labels must be 0.." + std::to_string(classes_ - 1) + " or " +
                               std::to_string(ignore_label_) + " (ignored), found " + std::to_string(k) +
                               "; give --label_ids if these are label ids, or check the label file");
    }
  }
  for (int k = 0; k < classes_; ++k) {
    for (int j = 0; j < 256; ++j) counts_[k * (classes_ + 1) + std::min(j, classes_)] += pairs[k * 256 + j];
  }
}

void ConfusionMatrix::Add(const ConfusionMatrix& other) {
  if (other.classes_ != classes_) throw std::invalid_argument("confusion matrices of other classes");
  std::transform(counts_.begin(), counts_.end(), other.counts_.begin(), counts_.begin(), std::plus<>());
}

double ConfusionMatrix::Iou(int k) const {
  int64_t all = 0;
  for (int j = 0; j <= classes_; ++j) all += count(k, j);
  for (int j = 0; j < classes_; ++j) all += count(j, k);
  all -= count(k, k);
  return all == 0 ? kNaN : static_cast<double>(count(k, k)) / static_cast<double>(all);
}

double ConfusionMatrix::MeanIou() const {
  double sum = 0;
  int present = 0;
  for (int k = 0; k < classes_; ++k) {
    const double iou = Iou(k);
    if (std::isnan(iou)) continue;
    sum += iou;
    ++present;
  }
  return present == 0 ? kNaN : sum / present;
}

double ConfusionMatrix::PixelAccuracy() const {
  int64_t right = 0, all = 0;
  for (int k = 0; k < classes_; ++k) {
    right += count(k, k);
    for (int j = 0; j <= classes_; ++j) all += count(k, j);
  }
  return all == 0 ? kNaN : static_cast<double>(right) / static_cast<double>(all);
}

std::string ConfusionMatrix::Summary(const std::vector<std::string>& class_names) const {
  size_t characters = std::string("pixAcc").size();
  for (const std::string& name : class_names) characters = std::max(characters, CountCharacters(name));
  // Bytes that a name may take, so that the columns stand below each other.
  const auto width = [characters](const std::string& name) { return characters + name.size() - CountCharacters(name); };
  std::string text = Row("class", width("class"), "IoU (%)");
  for (int k = 0; k < classes_; ++k) text += Row(class_names.at(k), width(class_names[k]), Percent(Iou(k)));
  text += std::string(characters + 9, '-') + "\n";
  text += Row("mIoU", width("mIoU"), Percent(MeanIou()));
  return text + Row("pixAcc", width("pixAcc"), Percent(PixelAccuracy()));
}

}  // namespace infer
