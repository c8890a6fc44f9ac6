#include "letterbox.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>
#include <vector>

namespace infer {
namespace {

constexpr int kWeightBits = 11;  // of OpenCV's fixed-point weights
constexpr int kWeightOne = 1 << kWeightBits;

// Where the new pixels of one axis lie between the old ones, with OpenCV's rounding.
struct Tap {
  int first, second;                // old pixels
  int first_weight, second_weight;  // of kWeightOne
};

int RoundWeight(float weight) { return static_cast<int>(std::lrintf(weight * kWeightOne)); }

std::vector<Tap> TapsOf(int from, int to) {
  const double scale = 1.0 / (static_cast<double>(to) / from);
  std::vector<Tap> taps;
  for (int i = 0; i < to; ++i) {
    const float position = static_cast<float>((i + 0.5) * scale - 0.5);
    const int old = static_cast<int>(std::floor(position));
    const float weight = position - static_cast<float>(old);
    taps.push_back(
        {std::clamp(old, 0, from - 1), std::clamp(old + 1, 0, from - 1), RoundWeight(1 - weight), RoundWeight(weight)});
  }
  return taps;
}

// An old row at the new width.
struct Line {
  explicit Line(size_t count) : values(count) {}

  void Load(const Image& rgb, int wanted, const std::vector<Tap>& columns) {
    if (row == wanted) return;
    row = wanted;
    const uint8_t* from = rgb.row(row);
    int32_t* to = values.data();
    for (const Tap& tap : columns) {
      for (int c = 0; c < 3; ++c) {
        *to++ = from[3 * tap.first + c] * tap.first_weight + from[3 * tap.second + c] * tap.second_weight;
      }
    }
  }

  int row = -1;
  std::vector<int32_t> values;
};

// OpenCV takes the mean of four pixels where both sides are exactly halved.
Image Halve(const Image& rgb, const Size& size) {
  Image result(size, 3);
  for (int y = 0; y < size.height; ++y) {
    const uint8_t *upper = rgb.row(2 * y), *lower = rgb.row(2 * y + 1);
    uint8_t* to = result.row(y);
    for (int x = 0; x < size.width; ++x) {
      for (int c = 0; c < 3; ++c) {
        const int i = 6 * x + c;
        *to++ = static_cast<uint8_t>((upper[i] + upper[i + 3] + lower[i] + lower[i + 3] + 2) >> 2);
      }
    }
  }
  return result;
}

}  // namespace

Placement Letterbox(const Size& original, const Size& target) {
  const double scale = std::min(static_cast<double>(target.height) / original.height,
                                static_cast<double>(target.width) / original.width);
  // Halves go to the even number, as in Python.
  const auto scaled = [scale](int length, int most) {
    return std::clamp(static_cast<int>(std::nearbyint(length * scale)), 1, most);
  };
  return {{scaled(original.height, target.height), scaled(original.width, target.width)}, original};
}

Image ResizeBilinear(const Image& rgb, const Size& size) {
  if (rgb.size == size) return rgb;
  if (rgb.size.height == 2 * size.height && rgb.size.width == 2 * size.width) return Halve(rgb, size);
  const std::vector<Tap> rows = TapsOf(rgb.size.height, size.height), columns = TapsOf(rgb.size.width, size.width);
  const size_t row_values = 3 * static_cast<size_t>(size.width);
  Line upper(row_values), lower(row_values);  // of which the last new row was made
  Image result(size, 3);
  for (int y = 0; y < size.height; ++y) {
    const Tap& tap = rows[y];
    if (lower.row == tap.first) std::swap(upper, lower);
    upper.Load(rgb, tap.first, columns);
    lower.Load(rgb, tap.second, columns);
    uint8_t* to = result.row(y);
    for (size_t i = 0; i < row_values; ++i) {
      const int sum =
          ((tap.first_weight * (upper.values[i] >> 4)) >> 16) + ((tap.second_weight * (lower.values[i] >> 4)) >> 16);
      to[i] = static_cast<uint8_t>((sum + 2) >> 2);
    }
  }
  return result;
}

Image ResizeNearest(const Image& classes, const Size& size) {
  if (classes.size == size) return classes;
  // Positions in 1/65536 of an old pixel, as OpenCV has them.
  const auto positions = [](int from, int to) {
    const int64_t step = ((static_cast<int64_t>(from) << 16) + to / 2) / to;
    const int64_t start = step / 2 - from % 2;
    std::vector<int> result;
    for (int i = 0; i < to; ++i) {
      result.push_back(std::clamp(static_cast<int>((step * i + start) >> 16), 0, from - 1));
    }
    return result;
  };
  const std::vector<int> rows = positions(classes.size.height, size.height);
  const std::vector<int> columns = positions(classes.size.width, size.width);
  Image result(size, 1);
  for (int y = 0; y < size.height; ++y) {
    if (y > 0 && rows[y] == rows[y - 1]) {
      std::memcpy(result.row(y), result.row(y - 1), size.width);
      continue;
    }
    const uint8_t* from = classes.row(rows[y]);
    uint8_t* to = result.row(y);
    for (int x = 0; x < size.width; ++x) to[x] = from[columns[x]];
  }
  return result;
}

}  // namespace infer
