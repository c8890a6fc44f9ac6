#ifndef ASCEND310_INFER_METADATA_H_
#define ASCEND310_INFER_METADATA_H_

#include <array>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "engine.h"
#include "image.h"

namespace infer {

enum class OutputKind {
  kLogits,      // float32 (N, C, H, W): class scores of each pixel of the input
  kClassMap,    // uint8 (N, H, W): the class of each pixel of the input
  kHeadLogits,  // float32 (N, C, H / stride, W / stride): class scores before the network's last upsampling
};

using Rgb = std::array<uint8_t, 3>;

// What export.py says about a model in the JSON file next to it, as far as this program needs it.
struct Metadata {
  ElementType input_type = ElementType::kUnknown;  // uint8: RGB (N, H, W, 3); float32: normalised RGB (N, 3, H, W)
  int batch = 0;
  Size size;                     // of an image
  std::array<double, 3> mean{};  // RGB, of values in 0..1
  std::array<double, 3> std{};
  OutputKind output = OutputKind::kClassMap;
  Size output_size;            // height and width of the output
  bool align_corners = false;  // of head logits: how the network would upsample them
  std::vector<std::string> classes;
  std::vector<Rgb> palette;  // by class
  int ignore_label = 255;
};

// The same model for images of another size. Throws Error(kUsage) if the networks take no such size.
Metadata Resized(const Metadata& metadata, const Size& size);

// Of the model's input: (N, H, W, 3) or (N, 3, H, W).
std::vector<int64_t> InputShape(const Metadata& metadata);

// "net.onnx" -> "net.json"
std::filesystem::path MetadataPath(const std::filesystem::path& model);

// Throws Error(kFailed) if the text is no metadata, of a later version, or contradicts itself; `path` is for the
// message.
Metadata ParseMetadata(const std::string& text, const std::filesystem::path& path);

// The metadata of a model; nothing if there is no such file. Throws as above.
std::optional<Metadata> ReadMetadata(const std::filesystem::path& model);

// Throws Error(kFailed) unless the loaded model takes and gives what its metadata says. A runtime may give float16
// where the metadata says float32.
void CheckMetadata(const Metadata& metadata, const Engine& engine);

}  // namespace infer

#endif  // ASCEND310_INFER_METADATA_H_
