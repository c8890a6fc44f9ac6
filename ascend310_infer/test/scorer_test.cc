// Which file is the label of an image. End-to-end tests score whole folders.
#include "scorer.h"

#include "check.h"
#include "image_codec.h"
#include "temporary_folder.h"

namespace fs = std::filesystem;

namespace {

using infer::Image;

Image OnePixel(uint8_t value) {
  Image image({1, 1}, 1);
  image.pixels = {value};
  return image;
}

void WriteLabel(const TemporaryFolder& folder, const std::string& name, uint8_t value) {
  fs::create_directories((folder / name).parent_path());
  folder.Write(name, infer::EncodePng(OnePixel(value)));
}

// The class in the label that is found for an image of one pixel.
int LabelOf(const fs::path& input, const fs::path& label_path) {
  infer::Metadata metadata;
  metadata.classes = {"a", "b", "c"};
  infer::Scorer scorer(label_path, metadata, {});
  scorer.Score(input, OnePixel(0));
  for (int label = 0; label < 3; ++label) {
    if (scorer.matrix().count(label, 0) == 1) return label;
  }
  return -1;
}

TEST(LabelIsFoundBelowItsFolder) {
  const TemporaryFolder folder;
  WriteLabel(folder, "labels/city/x.png", 2);
  WriteLabel(folder, "labels/city/y.png", 1);
  CHECK_EQUAL(LabelOf(folder / "images/x.png", folder / "labels"), 2);
  CHECK_EQUAL(LabelOf(folder / "images/y_img.bin", folder / "labels"), 1);
}

TEST(TwoLabelsOfTheSameNameAreNamed) {
  const TemporaryFolder folder;
  WriteLabel(folder, "labels/train/x.png", 1);
  WriteLabel(folder, "labels/val/x.png", 2);
  const fs::path input = folder / "images/x.png";
  CHECK_ERROR(LabelOf(input, folder / "labels"), infer::kBadInput,
              input.string() + ": has two labels, " + (folder / "labels/train/x.png").string() + " and " +
                  (folder / "labels/val/x.png").string() + "; give --label_path the folder of one of them");
  CHECK_EQUAL(LabelOf(input, folder / "labels/val"), 2);
}

TEST(HiddenFilesAreNoLabels) {
  const TemporaryFolder folder;
  WriteLabel(folder, "labels/x.png", 2);
  WriteLabel(folder, "labels/.thumbnails/x.png", 1);
  WriteLabel(folder, "labels/._x.png", 1);
  CHECK_EQUAL(LabelOf(folder / "images/x.png", folder / "labels"), 2);
}

TEST(ASuffixMayBeInCapitals) {
  const TemporaryFolder folder;
  WriteLabel(folder, "labels/X.PNG", 2);
  CHECK_EQUAL(LabelOf(folder / "images/X.PNG", folder / "labels"), 2);
}

TEST(AnImageIsNotItsOwnLabel) {
  const TemporaryFolder folder;
  WriteLabel(folder, "tree/images/x.png", 1);
  WriteLabel(folder, "tree/labels/x.png", 2);
  fs::create_symlink("tree/images/x.png", folder / "x.png");
  for (const char* input : {"tree/images/x.png", "tree/./images/x.png", "tree/labels/../images/x.png", "x.png"}) {
    CHECK_EQUAL(LabelOf(folder / input, folder / "tree"), 2);
  }
  const fs::path input = folder / "tree/./images/x.png";
  CHECK_ERROR(LabelOf(input, folder / "tree/images"), infer::kBadInput,
              input.string() + ": has no label in " + (folder / "tree/images").string() +
                  ", expected x_label.bin, x.png or x_gtFine_labelTrainIds.png");
}

TEST(ALabelThatIsFoundTwiceIsOneLabel) {
  const TemporaryFolder folder;
  WriteLabel(folder, "labels/city/x.png", 2);
  fs::create_directory_symlink(".", folder / "labels/loop");
  fs::create_directory_symlink("city", folder / "labels/town");
  fs::create_symlink("city/x.png", folder / "labels/x.png");
  CHECK_EQUAL(LabelOf(folder / "images/x.png", folder / "labels"), 2);
}

}  // namespace
