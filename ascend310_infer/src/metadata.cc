#include "metadata.h"

#include <algorithm>
#include <numeric>
#include <stdexcept>

#include "error.h"
#include "files.h"
#include "json.h"

namespace fs = std::filesystem;

namespace infer {
namespace {

constexpr size_t kMostBytes = 1 << 20;
constexpr int kLongest = 16384;    // sides in pixels, and images in a batch
constexpr int kSizeMultiple = 32;  // of the sides that the networks take, as export.py demands it
constexpr int kFormatVersion = 1;

void Expect(bool condition, const std::string& what) {
  if (!condition) throw std::runtime_error("expected " + what);
}

int Between(const Json& value, int low, int high) {
  const int number = value.AsInt();
  Expect(low <= number && number <= high,
         "a number from " + std::to_string(low) + " to " + std::to_string(high) + ", found " + std::to_string(number));
  return number;
}

std::vector<int> ShapeOf(const Json& value, size_t dimensions) {
  std::vector<int> shape;
  for (const Json& length : value.AsArray()) shape.push_back(Between(length, 1, kLongest));
  Expect(shape.size() == dimensions, "a shape of " + std::to_string(dimensions) + " dimensions");
  return shape;
}

std::array<double, 3> ThreeOf(const Json& value, double least) {
  const Json::Array& numbers = value.AsArray();
  Expect(numbers.size() == 3, "three numbers");
  std::array<double, 3> three{};
  for (size_t i = 0; i < 3; ++i) {
    const double number = numbers[i].AsNumber();
    Expect(least <= number && number <= 1, "mean from 0 to 1 and std above 0, found " + std::to_string(number));
    three[i] = number;
  }
  return three;
}

void ReadInput(const Json& input, Metadata* metadata) {
  const std::string& type = input["dtype"].AsString();
  const std::string& layout = input["layout"].AsString();
  const std::vector<int> shape = ShapeOf(input["shape"], 4);
  metadata->batch = shape[0];
  if (type == "uint8" && layout == "NHWC" && shape[3] == 3) {
    metadata->input_type = ElementType::kUint8;
    metadata->size = {shape[1], shape[2]};
  } else if (type == "float32" && layout == "NCHW" && shape[1] == 3) {
    metadata->input_type = ElementType::kFloat32;
    metadata->size = {shape[2], shape[3]};
  } else {
    throw std::runtime_error("expected an input uint8 NHWC or float32 NCHW of 3 channels, found " + type + " " +
                             layout);
  }
}

void ReadClasses(const Json& content, Metadata* metadata) {
  for (const Json& name : content["classes"].AsArray()) metadata->classes.push_back(name.AsString());
  Expect(!metadata->classes.empty() && metadata->classes.size() <= 255, "1 to 255 classes");
  for (const Json& color : content["palette"].AsArray()) {
    Expect(color.AsArray().size() == 3, "three numbers for each colour of the palette");
    Rgb rgb{};
    for (size_t i = 0; i < 3; ++i) rgb[i] = static_cast<uint8_t>(Between(color.AsArray()[i], 0, 255));
    metadata->palette.push_back(rgb);
  }
  Expect(metadata->palette.size() == metadata->classes.size(), "as many colours as classes");
  metadata->ignore_label = Between(content["ignore_label"], static_cast<int>(metadata->classes.size()), 255);
}

void ReadOutput(const Json& output, Metadata* metadata) {
  const std::string& kind = output["kind"].AsString();
  if (kind == "class_map") {
    metadata->output = OutputKind::kClassMap;
    const std::vector<int> shape = ShapeOf(output["shape"], 3);
    Expect(shape == std::vector<int>({metadata->batch, metadata->size.height, metadata->size.width}),
           "an output of the input's size");
    metadata->output_size = metadata->size;
    return;
  }
  Expect(kind == "logits" || kind == "head_logits", "an output logits, class_map or head_logits, found " + kind);
  metadata->output = kind == "logits" ? OutputKind::kLogits : OutputKind::kHeadLogits;
  const std::vector<int> shape = ShapeOf(output["shape"], 4);
  metadata->output_size = {shape[2], shape[3]};
  Expect(shape[0] == metadata->batch && shape[1] == static_cast<int>(metadata->classes.size()),
         "an output for each image and class");
  int stride = 1;
  if (metadata->output == OutputKind::kHeadLogits) {
    stride = Between(output["stride"], 1, kLongest);
    metadata->align_corners = output["align_corners"].AsBool();
  }
  Expect(shape[2] * stride == metadata->size.height && shape[3] * stride == metadata->size.width,
         "an output of the input's size divided by the stride");
}

std::vector<int64_t> OutputShape(const Metadata& metadata) {
  const int64_t height = metadata.output_size.height, width = metadata.output_size.width;
  if (metadata.output == OutputKind::kClassMap) return {metadata.batch, height, width};
  return {metadata.batch, static_cast<int64_t>(metadata.classes.size()), height, width};
}

// Whether `tensor` is of this shape and of this type or, for float32, float16.
bool Fits(const TensorInfo& tensor, ElementType type, const std::vector<int64_t>& shape) {
  const bool is_half = type == ElementType::kFloat32 && tensor.type == ElementType::kFloat16;
  size_t bytes = SizeOf(tensor.type);
  for (const int64_t length : shape) bytes *= static_cast<size_t>(length);
  return (tensor.type == type || is_half) && tensor.shape == shape && tensor.bytes == bytes;
}

}  // namespace

Metadata Resized(const Metadata& metadata, const Size& size) {
  if (size == metadata.size) return metadata;
  const int stride = metadata.size.height / metadata.output_size.height;
  const int multiple = std::lcm(kSizeMultiple, stride);
  if (std::max(size.height, size.width) > kLongest || size.height % multiple != 0 || size.width % multiple != 0) {
    throw Error(kUsage, "--image_height and --image_width expect multiples of " + std::to_string(multiple) + " up to " +
                            std::to_string(kLongest) + ", found " + std::to_string(size.height) + " and " +
                            std::to_string(size.width));
  }
  Metadata resized = metadata;
  resized.size = size;
  resized.output_size = {size.height / stride, size.width / stride};
  return resized;
}

std::vector<int64_t> InputShape(const Metadata& metadata) {
  const int64_t batch = metadata.batch, height = metadata.size.height, width = metadata.size.width;
  if (metadata.input_type == ElementType::kUint8) return {batch, height, width, 3};
  return {batch, 3, height, width};
}

fs::path MetadataPath(const fs::path& model) { return fs::path(model).replace_extension(".json"); }

Metadata ParseMetadata(const std::string& text, const fs::path& path) {
  Metadata metadata;
  try {
    const Json content = Json::Parse(text);
    const double version = content["format_version"].AsNumber();
    Expect(version == kFormatVersion, "format_version " + std::to_string(kFormatVersion));
    ReadInput(content["input"], &metadata);
    metadata.mean = ThreeOf(content["normalization"]["mean"], 0);
    metadata.std = ThreeOf(content["normalization"]["std"], 1e-6);
    ReadClasses(content, &metadata);
    ReadOutput(content["output"], &metadata);
  } catch (const std::runtime_error& error) {
    throw Error(kFailed, path.string() + ": is not the metadata of a model (" + OneLine(error.what()) +
                             "); export the model again");
  }
  return metadata;
}

std::optional<Metadata> ReadMetadata(const fs::path& model) {
  const fs::path path = MetadataPath(model);
  std::error_code ignored;
  if (!fs::exists(path, ignored)) return std::nullopt;
  std::string text;
  try {
    text = ReadUpTo(path, kMostBytes);
  } catch (const Error& error) {
    throw Error(kFailed, error.what());
  }
  return ParseMetadata(text, path);
}

void CheckMetadata(const Metadata& metadata, const Engine& engine) {
  const TensorInfo &input = engine.Inputs().at(0), &output = engine.Outputs().at(0);
  if (input.type != metadata.input_type || !Fits(input, metadata.input_type, InputShape(metadata))) {
    throw Error(kFailed,
                "the model takes " + Describe(input) + ", which is not what its metadata says; export it again");
  }
  const bool is_class_map = metadata.output == OutputKind::kClassMap;
  if (!Fits(output, is_class_map ? ElementType::kUint8 : ElementType::kFloat32, OutputShape(metadata))) {
    throw Error(kFailed,
                "the model gives " + Describe(output) + ", which is not what its metadata says; export it again");
  }
}

}  // namespace infer
