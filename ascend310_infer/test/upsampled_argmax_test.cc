#include "upsampled_argmax.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "check.h"

namespace {

using infer::Image;
using infer::LogitsView;
using infer::Size;
using infer::UpsampledArgmax;
using infer::Upsampling;

constexpr char kNotFinite[] = "expected finite logits, found NaN or infinity; is the model's precision too low?";

struct Logits {
  Logits(int count, Size of) : classes(count), size(of), values(count * Area(of)) {}
  LogitsView view() const { return {values.data(), classes, size}; }
  float& at(int k, int y, int x) { return values[(static_cast<size_t>(k) * size.height + y) * size.width + x]; }
  float at(int k, int y, int x) const { return const_cast<Logits*>(this)->at(k, y, x); }
  int classes;
  Size size;
  std::vector<float> values;
};

// Old pixel and weight of the next one, for new pixel i of an axis.
std::pair<int, float> PositionOf(int i, int from, int to, bool align_corners) {
  double position = align_corners ? (to > 1 ? static_cast<double>(i) * (from - 1) / (to - 1) : 0)
                                  : std::max(0.0, (i + 0.5) * from / to - 0.5);
  const int old = std::min(static_cast<int>(position), from - 1);
  return {old, old == from - 1 ? 0.0f : static_cast<float>(position - old)};
}

float Mix(float first, float second, float second_weight) { return first + second_weight * (second - first); }

// The full computation: every class of every pixel.
Image Reference(const Logits& logits, const Size& to, bool align_corners) {
  Image result(to, 1);
  for (int y = 0; y < to.height; ++y) {
    const auto [y0, wy] = PositionOf(y, logits.size.height, to.height, align_corners);
    const int y1 = std::min(y0 + 1, logits.size.height - 1);
    for (int x = 0; x < to.width; ++x) {
      const auto [x0, wx] = PositionOf(x, logits.size.width, to.width, align_corners);
      const int x1 = std::min(x0 + 1, logits.size.width - 1);
      float best = -std::numeric_limits<float>::infinity();
      for (int k = 0; k < logits.classes; ++k) {
        const float top = Mix(logits.at(k, y0, x0), logits.at(k, y0, x1), wx);
        const float bottom = Mix(logits.at(k, y1, x0), logits.at(k, y1, x1), wx);
        const float value = Mix(top, bottom, wy);
        if (value > best) {
          best = value;
          result.row(y)[x] = static_cast<uint8_t>(k);
        }
      }
    }
  }
  return result;
}

size_t CountDifferent(const Image& a, const Image& b) {
  CHECK(a.size == b.size);
  size_t different = 0;
  for (size_t i = 0; i < a.pixels.size(); ++i) different += a.pixels[i] != b.pixels[i] ? 1 : 0;
  return different;
}

enum class Kind { kNoise, kSmooth, kIntegers, kConstant, kCount };

Logits RandomLogits(std::mt19937* random, Kind kind, int classes, Size size) {
  Logits logits(classes, size);
  std::normal_distribution<float> normal;
  for (int k = 0; k < classes; ++k) {
    const float a = normal(*random), b = normal(*random), c = normal(*random);
    for (int y = 0; y < size.height; ++y) {
      for (int x = 0; x < size.width; ++x) {
        float& value = logits.at(k, y, x);
        if (kind == Kind::kNoise) value = normal(*random);
        if (kind == Kind::kSmooth) value = 5 * std::sin(0.3f * a * y + c) + 5 * std::cos(0.2f * b * x - c);
        if (kind == Kind::kIntegers) value = static_cast<float>((*random)() % 3);  // many ties
        if (kind == Kind::kConstant) value = 0.1f;
      }
    }
  }
  return logits;
}

TEST(UpsampledArgmaxEqualsTheFullComputation) {
  std::mt19937 random(20240611);
  const auto between = [&](int low, int high) { return low + static_cast<int>(random() % (high - low + 1)); };
  size_t pixels = 0, different = 0;
  for (int round = 0; round < 1200; ++round) {
    const Kind kind = static_cast<Kind>(round % static_cast<int>(Kind::kCount));
    const Size from{between(1, 12), between(1, 12)};
    // Whole factors as networks have them, any other enlargement, and reduction too.
    const int stride = 1 << between(0, 5);
    const Size to =
        round % 3 == 0 ? Size{from.height * stride, from.width * stride} : Size{between(1, 150), between(1, 150)};
    const int classes = round % 50 == 0 ? 256 : between(1, 24);
    const bool align_corners = random() % 2 == 0;
    const Logits logits = RandomLogits(&random, kind, classes, from);
    const Upsampling upsampling{to, align_corners, between(1, 4)};
    const Image expected = Reference(logits, to, align_corners);
    different += CountDifferent(UpsampledArgmax(logits.view(), upsampling, to), expected);
    pixels += Area(to);
  }
  CHECK(pixels > 5000000);
  // Two classes that are equal but for their rounding may change places.
  CHECK(different <= pixels / 100000);
}

TEST(UpsampledArgmaxAtTheSizeOfANetwork) {
  std::mt19937 random(5);
  const Size to{512, 1024};
  for (bool align_corners : {false, true}) {
    const Logits logits = RandomLogits(&random, Kind::kSmooth, 19, {64, 128});
    const Image map = UpsampledArgmax(logits.view(), {to, align_corners, 2}, to);
    CHECK(CountDifferent(map, Reference(logits, to, align_corners)) <= Area(to) / 100000);
  }
}

TEST(PartOfTheClassMapIsThatPartOfTheWhole) {
  std::mt19937 random(6);
  const Logits logits = RandomLogits(&random, Kind::kNoise, 5, {9, 7});
  const Size to{72, 56};
  const Image whole = UpsampledArgmax(logits.view(), {to, false, 1}, to);
  for (const Size part : {Size{72, 56}, Size{1, 1}, Size{72, 3}, Size{5, 56}, Size{37, 41}}) {
    const Image map = UpsampledArgmax(logits.view(), {to, false, 3}, part);
    CHECK(map.size == part);
    for (int y = 0; y < part.height; ++y) CHECK(std::equal(map.row(y), map.row(y) + part.width, whole.row(y)));
  }
}

TEST(KnownUpsampling) {
  // One row of two pixels; class 1 is ahead by as much on the right as class 0 is on the left.
  Logits logits(2, {1, 2});
  logits.values = {1, 0, 0, 1};
  const auto map = [&](bool align_corners) {
    const Image image = UpsampledArgmax(logits.view(), {{1, 8}, align_corners, 1}, {1, 8});
    std::string text;
    for (uint8_t k : image.pixels) text += static_cast<char>('0' + k);
    return text;
  };
  CHECK_EQUAL(map(false), "00001111");
  CHECK_EQUAL(map(true), "00001111");
  logits.values = {3, 0, 0, 1};  // equal at three quarters of the way
  CHECK_EQUAL(map(false), "00000111");
  CHECK_EQUAL(map(true), "00000011");
}

TEST(FirstOfEqualClassesWins) {
  Logits logits(3, {2, 2});
  logits.values.assign(logits.values.size(), -1.5f);
  const Image map = UpsampledArgmax(logits.view(), {{16, 16}, false, 1}, {16, 16});
  CHECK_EQUAL(std::count(map.pixels.begin(), map.pixels.end(), 0), 256);
}

TEST(ScoresThatAreNotFiniteAreAnError) {
  for (float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
                    -std::numeric_limits<float>::infinity()}) {
    for (int k : {0, 2}) {
      for (int y : {0, 4}) {
        Logits logits(3, {5, 6});
        logits.at(k, y, 5) = bad;
        CHECK_ERROR(UpsampledArgmax(logits.view(), {{40, 48}, false, 2}, {40, 48}), infer::kBadInput, kNotFinite);
        CHECK_ERROR(Argmax(logits.view(), {5, 6}), infer::kBadInput, kNotFinite);
      }
    }
  }
}

TEST(ArgmaxOfAPart) {
  Logits logits(2, {2, 3});
  logits.values = {0, 1, 2, 3, 4, 5, 5, 4, 2, 2, 4, 9};
  const Image map = Argmax(logits.view(), {2, 3});
  CHECK(map.pixels == std::vector<uint8_t>({1, 1, 0, 0, 0, 1}));
  CHECK(Argmax(logits.view(), {1, 2}).pixels == std::vector<uint8_t>({1, 1}));
}

}  // namespace
