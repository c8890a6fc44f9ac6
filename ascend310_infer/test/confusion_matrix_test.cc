#include "confusion_matrix.h"

#include <cmath>
#include <stdexcept>

#include "check.h"

namespace {

using infer::ConfusionMatrix;
using infer::Image;

Image Row(const std::vector<uint8_t>& values) {
  Image image({1, static_cast<int>(values.size())}, 1);
  image.pixels = values;
  return image;
}

TEST(ScoresAreThoseOfTheBenchmark) {
  ConfusionMatrix matrix(4, 255);
  //                 right     ignored  wrong  no class
  matrix.Add(Row({0, 0, 1, 2, 1, 255}), Row({0, 0, 1, 255, 0, 1}));
  CHECK_EQUAL(matrix.count(0, 0), 2);
  CHECK_EQUAL(matrix.count(0, 1), 1);
  CHECK_EQUAL(matrix.count(1, 4), 1);
  CHECK_EQUAL(matrix.Iou(0), 2.0 / 3);
  CHECK_EQUAL(matrix.Iou(1), 1.0 / 3);
  CHECK(std::isnan(matrix.Iou(2)));
  CHECK_EQUAL(matrix.MeanIou(), 0.5);
  CHECK_EQUAL(matrix.PixelAccuracy(), 0.6);
  CHECK_EQUAL(matrix.Summary({"road", "caf\xc3\xa9 terrace", "sky", "bus"}),
              "class         IoU (%)\n"
              "road            66.67\n"
              "caf\xc3\xa9 terrace    33.33\n"
              "sky               n/a\n"
              "bus               n/a\n"
              "---------------------\n"
              "mIoU            50.00\n"
              "pixAcc          60.00\n");
}

TEST(MatricesAreAdded) {
  ConfusionMatrix sum(2, 255), other(2, 255);
  sum.Add(Row({0, 1}), Row({0, 1}));
  other.Add(Row({0, 0}), Row({0, 1}));
  sum.Add(other);
  CHECK_EQUAL(sum.count(0, 0), 2);
  CHECK_EQUAL(sum.count(1, 0), 1);
  CHECK_EQUAL(sum.PixelAccuracy(), 0.75);
}

TEST(UnknownLabelsAreNamedAndNothingIsCounted) {
  ConfusionMatrix matrix(2, 200);
  for (uint8_t bad : {2, 199, 255}) {
    std::string message;
    try {
      matrix.Add(Row({0, 0}), Row({0, bad}));
    } catch (const std::runtime_error& error) {
      message = error.what();
    }
    CHECK_EQUAL(message, "labels must be 0..1 or 200 (ignored), found " + std::to_string(bad) +
                             "; give --label_ids if these are label ids, or check the label file");
  }
  CHECK(std::isnan(matrix.PixelAccuracy()));
  CHECK(std::isnan(matrix.MeanIou()));
}

}  // namespace
