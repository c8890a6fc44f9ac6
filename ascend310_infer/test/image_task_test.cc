// The steps around the model: where images lie, how they fill the input, how outputs become class maps and masks.
#include <cmath>
#include <limits>

#include "check.h"
#include "class_map_decoder.h"
#include "dataset.h"
#include "input_filler.h"
#include "letterbox.h"
#include "masks.h"
#include "temporary_folder.h"

namespace fs = std::filesystem;

namespace {

using infer::ElementType;
using infer::Image;
using infer::Size;

TEST(LetterboxKeepsTheAspectRatio) {
  const auto valid = [](Size original, Size target) { return infer::Letterbox(original, target).valid; };
  CHECK((valid({1024, 2048}, {1024, 2048}) == Size{1024, 2048}));
  CHECK((valid({720, 960}, {1024, 2048}) == Size{1024, 1365}));
  CHECK((valid({500, 3000}, {1024, 2048}) == Size{341, 2048}));
  CHECK((valid({1, 64}, {32, 32}) == Size{1, 32}));  // half a pixel of height rounds to the even 0, and is 1 at least
  CHECK((valid({3, 64}, {32, 32}) == Size{2, 32}));  // 1.5
  CHECK((valid({5, 64}, {32, 32}) == Size{2, 32}));  // 2.5
  CHECK((infer::Letterbox({720, 960}, {32, 32}).original == Size{720, 960}));
}

TEST(ResizingKeepsConstantImages) {
  Image image({7, 9}, 3);
  std::fill(image.pixels.begin(), image.pixels.end(), 200);
  for (const Size size : {Size{1, 1}, Size{7, 9}, Size{14, 18}, Size{5, 30}}) {
    const Image resized = infer::ResizeBilinear(image, size);
    CHECK(resized.size == size);
    for (uint8_t value : resized.pixels) CHECK_EQUAL(static_cast<int>(value), 200);
  }
}

TEST(NearestTakesTheNearest) {
  Image map({1, 4}, 1);
  map.pixels = {1, 2, 3, 4};
  CHECK(infer::ResizeNearest(map, {2, 2}).pixels == std::vector<uint8_t>({2, 4, 2, 4}));
  CHECK(infer::ResizeNearest(map, {1, 8}).pixels == std::vector<uint8_t>({1, 1, 2, 2, 3, 3, 4, 4}));
}

infer::Metadata SmallModel(ElementType type) {
  infer::Metadata metadata;
  metadata.input_type = type;
  metadata.size = {2, 2};
  metadata.mean = {0.5, 0.25, 0.1};
  metadata.std = {0.5, 0.5, 0.25};
  metadata.output_size = {2, 2};
  metadata.classes = {"a", "b"};
  metadata.palette = {{1, 2, 3}, {4, 5, 7}};
  return metadata;
}

TEST(InputIsPaddedWithTheMeanColor) {
  Image rgb({1, 1}, 3);
  rgb.pixels = {255, 0, 9};
  uint8_t bytes[12];
  const infer::InputFiller filler(SmallModel(ElementType::kUint8));
  filler.Fill(rgb, {bytes, sizeof(bytes)});
  CHECK(std::vector<uint8_t>(bytes, bytes + 12) ==
        std::vector<uint8_t>({255, 0, 9, 128, 64, 26, 128, 64, 26, 128, 64, 26}));
  CHECK(filler.PlaceFor({2, 2}, {bytes, 12}) == bytes);
  CHECK(filler.PlaceFor({1, 2}, {bytes, 12}) == nullptr);
  float floats[12];
  const infer::InputFiller float_filler(SmallModel(ElementType::kFloat32));
  float_filler.Fill(rgb, {floats, sizeof(floats)});
  const float red = floats[0], red_padding = floats[1], green = floats[4], blue = floats[8];
  CHECK(std::fabs(red - 1) < 1e-6 && std::fabs(red_padding) < 0.01f && std::fabs(green + 0.5f) < 1e-6);
  CHECK(std::fabs(blue - (9 / 255.0f - 0.1f) / 0.25f) < 1e-6);
  CHECK(float_filler.PlaceFor({2, 2}, {floats, sizeof(floats)}) == nullptr);
  CHECK_ERROR(filler.Fill(Image({3, 1}, 3), {bytes, 12}), infer::kFailed,
              "an image does not fit into the model's input");
}

TEST(HalfPrecisionNumbers) {
  const uint16_t halves[] = {0x0000, 0x8000, 0x3c00, 0xc000, 0x7bff, 0x0001, 0x83ff, 0x7c00, 0xfc00, 0x7e00};
  const std::vector<float> floats = infer::HalfToFloat(halves, 10);
  CHECK(floats[0] == 0 && !std::signbit(floats[0]) && std::signbit(floats[1]));
  CHECK_EQUAL(floats[2], 1.0f);
  CHECK_EQUAL(floats[3], -2.0f);
  CHECK_EQUAL(floats[4], 65504.0f);
  CHECK_EQUAL(floats[5], std::ldexp(1.0f, -24));
  CHECK_EQUAL(floats[6], -std::ldexp(1023.0f, -24));
  CHECK_EQUAL(floats[7], std::numeric_limits<float>::infinity());
  CHECK_EQUAL(floats[8], -std::numeric_limits<float>::infinity());
  CHECK(std::isnan(floats[9]));
}

TEST(EveryKindOfOutputBecomesAClassMap) {
  infer::Metadata metadata = SmallModel(ElementType::kUint8);
  const uint8_t classes[] = {0, 1, 1, 0};
  metadata.output = infer::OutputKind::kClassMap;
  const infer::ClassMapDecoder of_classes(metadata, ElementType::kUint8, 1);
  CHECK(of_classes.Decode({classes, 4}, {2, 2}, "x").pixels == std::vector<uint8_t>({0, 1, 1, 0}));
  CHECK(of_classes.Decode({classes, 4}, {2, 1}, "x").pixels == std::vector<uint8_t>({0, 1}));

  metadata.output = infer::OutputKind::kLogits;
  const float logits[] = {1, 0, 0, 1, 0, 1, 1, 1};
  const uint16_t halves[] = {0x3c00, 0, 0, 0x3c00, 0, 0x3c00, 0x3c00, 0x3c00};
  CHECK(infer::ClassMapDecoder(metadata, ElementType::kFloat32, 1).Decode({logits, 32}, {2, 2}, "x").pixels ==
        std::vector<uint8_t>({0, 1, 1, 0}));
  CHECK(infer::ClassMapDecoder(metadata, ElementType::kFloat16, 1).Decode({halves, 16}, {2, 2}, "x").pixels ==
        std::vector<uint8_t>({0, 1, 1, 0}));

  metadata.output = infer::OutputKind::kHeadLogits;
  metadata.size = {4, 4};
  CHECK(infer::ClassMapDecoder(metadata, ElementType::kFloat16, 2).Decode({halves, 16}, {1, 4}, "x").pixels ==
        std::vector<uint8_t>({0, 0, 1, 1}));
  CHECK_ERROR(infer::ClassMapDecoder(metadata, ElementType::kFloat32, 1).Decode({logits, 31}, {4, 4}, "x.png"),
              infer::kFailed, "x.png: expected an output of 32 bytes, found 31");
}

TEST(MasksAndOverlays) {
  Image map({1, 3}, 1), rgb({1, 3}, 3);
  map.pixels = {1, 0, 255};
  rgb.pixels = {10, 11, 12, 0, 0, 0, 7, 8, 9};
  const std::vector<infer::Rgb> palette = {{1, 2, 3}, {4, 5, 7}};
  CHECK(infer::Colorize(map, palette).pixels == std::vector<uint8_t>({4, 5, 7, 1, 2, 3, 0, 0, 0}));
  CHECK(infer::Overlay(rgb, map, palette).pixels == std::vector<uint8_t>({7, 8, 9, 0, 1, 1, 7, 8, 9}));
}

std::string Names(const infer::Dataset& dataset) {
  std::string names;
  for (const fs::path& input : dataset.inputs) names += input.filename().string() + " ";
  return names;
}

TEST(BinFilesComeBeforeImages) {
  const TemporaryFolder folder;
  for (const char* name :
       {"b_img.bin", "a_img.bin", "a_label.bin", "img.bin", "a.png", "_img.bin", ".tmp-1-c_img.bin"}) {
    folder.Write(name, "");
  }
  const infer::Dataset dataset = infer::FindInputs(folder.path(), folder / "out");
  CHECK(dataset.is_bin);
  CHECK_EQUAL(Names(dataset), "_img.bin a_img.bin b_img.bin ");
  CHECK(infer::FindInputs(folder / "a_img.bin", "").is_bin);
}

TEST(ImagesAreFoundInFoldersBelow) {
  const TemporaryFolder folder;
  for (const char* name : {"city", ".cache", "out"}) fs::create_directory(folder / name);
  for (const char* name : {"b.PNG", "c.jpeg", "d.gif", ".e.png", "city/a.jpg", ".cache/f.png", "out/g.png"}) {
    folder.Write(name, "");
  }
  const infer::Dataset dataset = infer::FindInputs(folder.path(), folder / "out");
  CHECK(!dataset.is_bin);
  CHECK_EQUAL(Names(dataset), "b.PNG c.jpeg a.jpg ");
  CHECK(!infer::FindInputs(folder / "d.gif", "").is_bin);  // a file that is named is tried, whatever its suffix
}

TEST(EachFolderIsEnteredOnceWhateverLinksLeadToIt) {
  const TemporaryFolder folder;
  for (const char* name : {"data", "data/loop", "elsewhere"}) fs::create_directory(folder / name);
  for (const char* name : {"data/a.png", "elsewhere/b.png"}) folder.Write(name, "");
  fs::create_directory_symlink("..", folder / "data/loop/again");
  fs::create_directory_symlink("../elsewhere", folder / "data/one");
  fs::create_directory_symlink("../elsewhere", folder / "data/two");
  const infer::Dataset dataset = infer::FindInputs(folder / "data", folder / "out");
  CHECK_EQUAL(Names(dataset), "a.png b.png ");
  CHECK(dataset.problems.empty());
}

TEST(ResultsNextToTheImagesAreNoInputs) {
  const TemporaryFolder folder;
  for (const char* name : {"class_map", "mask", "overlay", "city", "city/mask"}) fs::create_directory(folder / name);
  for (const char* name : {"a.png", "class_map/a_class_map.png", "mask/a_mask.png", "overlay/a_overlay.png"}) {
    folder.Write(name, "");
  }
  folder.Write("city/mask/b.png", "");  // somebody's own
  CHECK_EQUAL(Names(infer::FindInputs(folder.path(), folder.path())), "a.png b.png ");
  CHECK_EQUAL(Names(infer::FindInputs(folder / "mask", folder.path())), "a_mask.png ");  // if they are asked for
}

TEST(DatasetProblemsAreNamed) {
  const TemporaryFolder folder;
  CHECK_ERROR(infer::FindInputs(folder / "missing", ""), infer::kBadInput,
              "cannot read the dataset " + (folder / "missing").string() + ": No such file or directory");
  fs::create_symlink("loop", folder / "loop");
  CHECK_ERROR(infer::FindInputs(folder / "loop", ""), infer::kBadInput,
              "cannot read the dataset " + (folder / "loop").string() + ": Too many levels of symbolic links");
  CHECK_ERROR(infer::FindInputs(folder.path(), ""), infer::kBadInput,
              "no *_img.bin, .png, .jpg or .jpeg file in " + folder.path().string());
  folder.Write("a.png", "");
  folder.Write("a.jpg", "");
  const infer::Dataset dataset = infer::FindInputs(folder.path(), "");
  CHECK_EQUAL(Names(dataset), "a.jpg ");
  CHECK_EQUAL(dataset.problems.at(0), (folder / "a.png").string() + ": has the same name as " +
                                          (folder / "a.jpg").string() +
                                          ", and so would have the same results; rename one of them");
}

}  // namespace
