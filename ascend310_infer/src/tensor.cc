#include "tensor.h"

#include <stdexcept>

namespace infer {
namespace {

struct Element {
  const char* name;
  size_t bytes;
};

// The one place that knows an element type; an enumerator without a case is a compiler warning.
Element ElementOf(ElementType type) {
  switch (type) {
    case ElementType::kUint8:
      return {"uint8", 1};
    case ElementType::kInt32:
      return {"int32", 4};
    case ElementType::kInt64:
      return {"int64", 8};
    case ElementType::kFloat16:
      return {"float16", 2};
    case ElementType::kFloat32:
      return {"float32", 4};
    case ElementType::kUnknown:
      break;
  }
  return {"an unknown type", 0};
}

}  // namespace

const char* NameOf(ElementType type) { return ElementOf(type).name; }

size_t SizeOf(ElementType type) { return ElementOf(type).bytes; }

std::string Describe(const TensorInfo& tensor) {
  std::string text = std::string(NameOf(tensor.type)) + " [";
  for (size_t i = 0; i < tensor.shape.size(); ++i) text += (i == 0 ? "" : ", ") + std::to_string(tensor.shape[i]);
  return text + "]";
}

TensorView ImageOf(const TensorView& batch, size_t index, size_t image_bytes) {
  if ((index + 1) * image_bytes > batch.bytes) {
    throw std::out_of_range("image " + std::to_string(index) + " of " + std::to_string(image_bytes) +
                            " bytes is not in a batch of " + std::to_string(batch.bytes) + " bytes");
  }
  return {static_cast<char*>(batch.data) + index * image_bytes, image_bytes};
}

}  // namespace infer
