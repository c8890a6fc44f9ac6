#include "metadata.h"

#include <random>

#include "check.h"
#include "fake_engine.h"
#include "temporary_folder.h"

namespace {

using infer::ElementType;
using infer::kFailed;
using infer::Metadata;
using infer::OutputKind;
using infer::ParseMetadata;

// As export.py writes it, with two classes.
std::string Text(const std::string& input, const std::string& output) {
  return R"({"format_version": 1, "model": "fast_scnn", "variant": "mmseg", "input": {"name": "x", )" + input +
         R"(}, "normalization": {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225], "in_graph": true},
            "color_order": "RGB", "output": {"name": "output", )" +
         output + R"(}, "dataset": "two", "classes": ["road", "caf\u00e9"], "palette": [[1, 2, 3], [255, 0, 9]],
            "ignore_label": 255, "checkpoint_sha256": "", "source": "best_map.ckpt"})";
}
const std::string kBytes = R"("shape": [2, 32, 64, 3], "dtype": "uint8", "layout": "NHWC")";
const std::string kFloats = R"("shape": [2, 3, 32, 64], "dtype": "float32", "layout": "NCHW")";
const std::string kClassMap = R"("kind": "class_map", "shape": [2, 32, 64], "dtype": "uint8")";
const std::string kLogits = R"("kind": "logits", "shape": [2, 2, 32, 64], "dtype": "float32")";
const std::string kHeadLogits =
    R"("kind": "head_logits", "shape": [2, 2, 4, 8], "dtype": "float32", "stride": 8, "align_corners": true)";

TEST(MetadataIsRead) {
  const Metadata metadata = ParseMetadata(Text(kBytes, kHeadLogits), "net.json");
  CHECK(metadata.input_type == ElementType::kUint8);
  CHECK_EQUAL(metadata.batch, 2);
  CHECK((metadata.size == infer::Size{32, 64}));
  CHECK_EQUAL(metadata.mean[2], 0.406);
  CHECK_EQUAL(metadata.std[0], 0.229);
  CHECK(metadata.output == OutputKind::kHeadLogits);
  CHECK((metadata.output_size == infer::Size{4, 8}));
  CHECK(metadata.align_corners);
  CHECK_EQUAL(metadata.classes[1], "caf\xc3\xa9");
  CHECK((metadata.palette[1] == infer::Rgb{255, 0, 9}));
  CHECK_EQUAL(metadata.ignore_label, 255);
  CHECK(ParseMetadata(Text(kFloats, kLogits), "net.json").output == OutputKind::kLogits);
  CHECK(ParseMetadata(Text(kFloats, kClassMap), "net.json").input_type == ElementType::kFloat32);
}

void CheckProblem(const std::string& input, const std::string& output, const std::string& problem) {
  CHECK_ERROR(ParseMetadata(Text(input, output), "net.json"), kFailed,
              "net.json: is not the metadata of a model (" + problem + "); export the model again");
}

TEST(ContradictionsInMetadataAreNamed) {
  CheckProblem(R"("shape": [2, 32, 64, 3], "dtype": "uint8", "layout": "NCHW")", kClassMap,
               "expected an input uint8 NHWC or float32 NCHW of 3 channels, found uint8 NCHW");
  CheckProblem(R"("shape": [2, 32, 64], "dtype": "uint8", "layout": "NHWC")", kClassMap,
               "expected a shape of 4 dimensions");
  CheckProblem(R"("shape": [2, 0, 64, 3], "dtype": "uint8", "layout": "NHWC")", kClassMap,
               "expected a number from 1 to 16384, found 0");
  CheckProblem(kBytes, R"("kind": "class_map", "shape": [2, 32, 63], "dtype": "uint8")",
               "expected an output of the input's size");
  CheckProblem(kBytes, R"("kind": "scores", "shape": [2, 32, 63])",
               "expected an output logits, class_map or head_logits, found scores");
  CheckProblem(kBytes, R"("kind": "logits", "shape": [2, 3, 32, 64])", "expected an output for each image and class");
  CheckProblem(kBytes, R"("kind": "head_logits", "shape": [2, 2, 4, 8], "stride": 4, "align_corners": true)",
               "expected an output of the input's size divided by the stride");
  CheckProblem(kBytes, R"("kind": "head_logits", "shape": [2, 2, 4, 8])", "expected the key \"stride\"");
}

TEST(MetadataStandsNextToTheModel) {
  const TemporaryFolder folder;
  const auto model = folder / "net.v2.onnx";
  CHECK(!infer::ReadMetadata(model));
  folder.Write("net.v2.json", Text(kBytes, kClassMap));
  CHECK_EQUAL(infer::ReadMetadata(model)->batch, 2);
  folder.Write("net.v2.json", std::string(2 << 20, ' '));
  CHECK_ERROR(infer::ReadMetadata(model), kFailed,
              (folder / "net.v2.json").string() + ": has 2097152 bytes, expected at most 1048576");
}

TEST(ModelsAreCheckedAgainstTheirMetadata) {
  FakeEngine engine(2, 32 * 64 * 3, 32 * 64);
  engine.inputs[0].shape = {2, 32, 64, 3};
  engine.outputs[0].shape = {2, 32, 64};
  const Metadata class_map = ParseMetadata(Text(kBytes, kClassMap), "net.json");
  CheckMetadata(class_map, engine);
  engine.inputs[0].shape = {2, 64, 32, 3};
  CHECK_ERROR(CheckMetadata(class_map, engine), kFailed,
              "the model takes uint8 [2, 64, 32, 3], which is not what its metadata says; export it again");
  engine.inputs[0].shape = {2, 32, 64, 3};
  const Metadata logits = ParseMetadata(Text(kBytes, kLogits), "net.json");
  CHECK_ERROR(CheckMetadata(logits, engine), kFailed,
              "the model gives uint8 [2, 32, 64], which is not what its metadata says; export it again");
  engine.outputs[0] = {"y", {2, 32, 64, 2}, ElementType::kFloat32, 2 * 2 * 2048 * 4};
  CHECK_ERROR(CheckMetadata(logits, engine), kFailed,
              "the model gives float32 [2, 32, 64, 2], which is not what its metadata says; export it again");
  for (ElementType type : {ElementType::kFloat32, ElementType::kFloat16}) {
    engine.outputs[0] = {"y", {2, 2, 32, 64}, type, 2 * 2 * 2048 * infer::SizeOf(type)};
    CheckMetadata(logits, engine);
  }
  CHECK_ERROR(CheckMetadata(ParseMetadata(Text(kFloats, kLogits), "net.json"), engine), kFailed,
              "the model takes uint8 [2, 32, 64, 3], which is not what its metadata says; export it again");
}

TEST(MetadataForAnotherSize) {
  const Metadata metadata = ParseMetadata(Text(kBytes, kHeadLogits), "net.json");
  const Metadata larger = Resized(metadata, {1024, 2048});
  CHECK((larger.size == infer::Size{1024, 2048} && larger.output_size == infer::Size{128, 256}));
  CHECK_EQUAL(larger.batch, 2);
  CHECK_ERROR(Resized(metadata, {32, 72}), infer::kUsage,
              "--image_height and --image_width expect multiples of 32 up to 16384, found 32 and 72");
  CHECK_ERROR(Resized(metadata, {16416, 64}), infer::kUsage,
              "--image_height and --image_width expect multiples of 32 up to 16384, found 16416 and 64");
}

TEST(MutatedMetadataIsReadOrRefused) {
  const std::string good = Text(kBytes, kHeadLogits);
  std::mt19937 random(3);
  int refused = 0;
  for (int round = 0; round < 20000; ++round) {
    std::string text = good;
    for (int i = 0; i < 2; ++i)
      text[random() % text.size()] = static_cast<char>(random() % 3 ? '0' + random() % 10 : random());
    try {
      ParseMetadata(text, "net.json");
    } catch (const infer::Error& error) {
      CHECK_EQUAL(static_cast<int>(error.exit_code()), static_cast<int>(kFailed));
      ++refused;
    }
  }
  CHECK(refused > 5000 && refused < 20000);
}

}  // namespace
