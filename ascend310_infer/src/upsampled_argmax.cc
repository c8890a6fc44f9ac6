#include "upsampled_argmax.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <vector>

#include "error.h"
#include "thread_group.h"

namespace infer {
namespace {

// Values for the pixels of a row that are computed at a time.
constexpr int kTile = 32;
template <typename T>
using Tile = std::array<T, kTile>;

// Where the new pixels of one axis lie between the old ones.
struct Axis {
  Axis(int from, int to, int wanted, bool align_corners) : first(from + 1), second_weight(wanted) {
    const double scale =
        align_corners ? (to > 1 ? static_cast<double>(from - 1) / (to - 1) : 0.0) : static_cast<double>(from) / to;
    int cell = 0;
    for (int i = 0; i < wanted; ++i) {
      const double position = align_corners ? i * scale : std::max(0.0, (i + 0.5) * scale - 0.5);
      const int old = std::min(static_cast<int>(position), from - 1);
      while (cell <= old) first[cell++] = i;
      second_weight[i] = old == from - 1 ? 0.0f : static_cast<float>(position - old);
    }
    while (cell <= from) first[cell++] = wanted;
  }

  // New pixels first[i] to first[i + 1] - 1 lie between old pixels i and i + 1 (cell i).
  std::vector<int> first;
  std::vector<float> second_weight;  // of old pixel i + 1; that of i is 1 minus it
};

// Equal scores give exactly themselves.
inline float Mix(float first, float second, float second_weight) { return first + second_weight * (second - first); }

[[noreturn]] void FailNotFinite() {
  throw Error(kBadInput, "expected finite logits, found NaN or infinity; is the model's precision too low?");
}

// The best class of each of the first `width` pixels in a row of logits.
class RowArgmax {
 public:
  RowArgmax(const LogitsView& logits, int width) : logits_(logits), width_(width), best_(width), best_class_(width) {}

  void Compute(int y, uint8_t* classes) {
    const size_t plane = Area(logits_.size);
    const float* row = logits_.data + static_cast<size_t>(y) * logits_.size.width;
    float* best = best_.data();
    int32_t* best_class = best_class_.data();
    std::copy(row, row + width_, best);
    std::fill(best_class_.begin(), best_class_.end(), 0);
    uint32_t not_finite = CountNotFinite(row);
    for (int k = 1; k < logits_.classes; ++k) {
      row += plane;
      not_finite += CountNotFinite(row);
      for (int x = 0; x < width_; ++x) {
        const bool better = row[x] > best[x];
        best[x] = better ? row[x] : best[x];
        best_class[x] = better ? k : best_class[x];
      }
    }
    if (not_finite != 0) FailNotFinite();
    std::copy(best_class_.begin(), best_class_.end(), classes);
  }

 private:
  uint32_t CountNotFinite(const float* row) const {
    constexpr uint32_t kExponent = 0x7f800000;
    uint32_t count = 0;
    for (int x = 0; x < width_; ++x) {
      uint32_t bits;
      std::memcpy(&bits, row + x, sizeof(bits));
      count += (bits & kExponent) == kExponent ? 1 : 0;
    }
    return count;
  }

  const LogitsView& logits_;
  const int width_;
  std::vector<float> best_;
  std::vector<int32_t> best_class_;
};

// The pixels of cells whose corners differ in their best class.
class MixedCell {
 public:
  MixedCell(const LogitsView& logits, const Axis& rows, const Axis& columns, Image* class_map)
      : logits_(logits), rows_(rows), columns_(columns), class_map_(*class_map) {
    corners_.resize(logits.classes);
    candidates_.reserve(logits.classes);
    top_.resize(logits.classes);
    bottom_.resize(logits.classes);
  }

  void Compute(int cell_y, int cell_x) {
    FindCandidates(cell_y, cell_x);
    const int end = columns_.first[cell_x + 1];
    for (int x = columns_.first[cell_x]; x < end; x += kTile) {
      ComputeTile(cell_y, x, std::min(kTile, end - x));
    }
  }

 private:
  struct Corners {
    float top_left, top_right, bottom_left, bottom_right;
  };

  // A class is no candidate if another one is better everywhere in the cell: its best corner is below the other's
  // worst.
  void FindCandidates(int cell_y, int cell_x) {
    const size_t plane = Area(logits_.size);
    const size_t right = cell_x + 1 < logits_.size.width ? 1 : 0;
    const size_t below = cell_y + 1 < logits_.size.height ? static_cast<size_t>(logits_.size.width) : 0;
    const float* corner = logits_.data + static_cast<size_t>(cell_y) * logits_.size.width + cell_x;
    float best_worst = -INFINITY;
    for (Corners& c : corners_) {
      c = {corner[0], corner[right], corner[below], corner[below + right]};
      best_worst = std::max(best_worst, std::min({c.top_left, c.top_right, c.bottom_left, c.bottom_right}));
      corner += plane;
    }
    candidates_.clear();
    for (int k = 0; k < logits_.classes; ++k) {
      const Corners& c = corners_[k];
      if (std::max({c.top_left, c.top_right, c.bottom_left, c.bottom_right}) >= best_worst) candidates_.push_back(k);
    }
  }

  // All rows of the cell, columns x to x + count - 1.
  void ComputeTile(int cell_y, int x, int count) {
    const float* weights = columns_.second_weight.data() + x;
    for (size_t i = 0; i < candidates_.size(); ++i) {
      const Corners c = corners_[candidates_[i]];
      Tile<float>& top = top_[i];
      Tile<float>& bottom = bottom_[i];
      for (int j = 0; j < count; ++j) {
        top[j] = Mix(c.top_left, c.top_right, weights[j]);
        bottom[j] = Mix(c.bottom_left, c.bottom_right, weights[j]);
      }
    }
    for (int y = rows_.first[cell_y]; y < rows_.first[cell_y + 1]; ++y) {
      ComputeRow(rows_.second_weight[y], count, class_map_.row(y) + x);
    }
  }

  void ComputeRow(float weight, int count, uint8_t* classes) const {
    Tile<float> best;
    Tile<int32_t> best_class;
    for (int j = 0; j < count; ++j) {
      best[j] = Mix(top_[0][j], bottom_[0][j], weight);
      best_class[j] = candidates_[0];
    }
    for (size_t i = 1; i < candidates_.size(); ++i) {
      const Tile<float>& top = top_[i];
      const Tile<float>& bottom = bottom_[i];
      const int32_t candidate = candidates_[i];
      for (int j = 0; j < count; ++j) {
        const float value = Mix(top[j], bottom[j], weight);
        const bool better = value > best[j];
        best[j] = better ? value : best[j];
        best_class[j] = better ? candidate : best_class[j];
      }
    }
    std::copy_n(best_class.begin(), count, classes);
  }

  const LogitsView& logits_;
  const Axis& rows_;
  const Axis& columns_;
  Image& class_map_;
  std::vector<Corners> corners_;           // of each class
  std::vector<int32_t> candidates_;        // classes that may be best somewhere in the cell, in ascending order
  std::vector<Tile<float>> top_, bottom_;  // of each candidate: its scores at the upper and lower edge of the cell
};

// The cells of rows [begin, end).
void ComputeCells(const LogitsView& logits, const Axis& rows, const Axis& columns, int begin, int end,
                  Image* class_map) {
  const int width = logits.size.width;
  RowArgmax row_argmax(logits, width);
  std::vector<uint8_t> top(width), bottom(width);  // the best class at the corners of the cells
  MixedCell mixed(logits, rows, columns, class_map);
  row_argmax.Compute(begin, top.data());
  for (int cell_y = begin; cell_y < end; ++cell_y) {
    row_argmax.Compute(std::min(cell_y + 1, logits.size.height - 1), bottom.data());
    const auto is_uniform = [&](int x, uint8_t best) {
      const int right = std::min(x + 1, width - 1);
      return top[x] == best && top[right] == best && bottom[x] == best && bottom[right] == best;
    };
    for (int cell_x = 0; cell_x < width;) {
      if (!is_uniform(cell_x, top[cell_x])) {
        mixed.Compute(cell_y, cell_x++);
        continue;
      }
      const int run = cell_x;
      while (cell_x < width && is_uniform(cell_x, top[run])) ++cell_x;
      for (int y = rows.first[cell_y]; y < rows.first[cell_y + 1]; ++y) {
        std::memset(class_map->row(y) + columns.first[run], top[run], columns.first[cell_x] - columns.first[run]);
      }
    }
    std::swap(top, bottom);
  }
}

void CheckLogits(const LogitsView& logits) {
  if (logits.classes < 1 || logits.classes > 256 || logits.size.height < 1 || logits.size.width < 1) {
    throw Error(kFailed, "expected logits of 1 to 256 classes, found " + std::to_string(logits.classes) + " of " +
                             std::to_string(logits.size.height) + "x" + std::to_string(logits.size.width));
  }
}

}  // namespace

Image UpsampledArgmax(const LogitsView& logits, const Upsampling& upsampling, const Size& part) {
  CheckLogits(logits);
  const Axis rows(logits.size.height, upsampling.size.height, part.height, upsampling.align_corners);
  const Axis columns(logits.size.width, upsampling.size.width, part.width, upsampling.align_corners);
  Image class_map(part, 1);
  const int threads = std::clamp(upsampling.threads, 1, logits.size.height);
  const auto begin_of = [&](int thread) { return logits.size.height * thread / threads; };
  ThreadGroup others;
  for (int thread = 1; thread < threads; ++thread) {
    others.Start(
        [&, thread] { ComputeCells(logits, rows, columns, begin_of(thread), begin_of(thread + 1), &class_map); });
  }
  ComputeCells(logits, rows, columns, 0, begin_of(1), &class_map);
  others.JoinAndRethrow();
  return class_map;
}

Image Argmax(const LogitsView& logits, const Size& part) {
  CheckLogits(logits);
  Image class_map(part, 1);
  RowArgmax row(logits, part.width);
  for (int y = 0; y < part.height; ++y) row.Compute(y, class_map.row(y));
  return class_map;
}

}  // namespace infer
