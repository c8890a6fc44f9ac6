#ifndef ASCEND310_INFER_TENSOR_H_
#define ASCEND310_INFER_TENSOR_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace infer {

enum class ElementType { kUnknown, kUint8, kInt32, kInt64, kFloat16, kFloat32 };

// "uint8", "float32", ...; of kUnknown "an unknown type".
const char* NameOf(ElementType type);

// Bytes of one element; 0 of kUnknown.
size_t SizeOf(ElementType type);

struct TensorInfo {
  std::string name;
  std::vector<int64_t> shape;  // a dimension that the model leaves open is negative
  ElementType type = ElementType::kUnknown;
  size_t bytes = 0;  // of the whole tensor; 0 if a dimension is open
};

// "float32 [1, 3, 1024, 2048]"
std::string Describe(const TensorInfo& tensor);

// Memory with its size. A view owns nothing.
struct TensorView {
  void* data = nullptr;
  size_t bytes = 0;
};

struct ConstTensorView {
  ConstTensorView() = default;
  ConstTensorView(const void* first, size_t size) : data(first), bytes(size) {}
  ConstTensorView(const TensorView& view) : data(view.data), bytes(view.bytes) {}  // NOLINT: meant to be implicit
  const void* data = nullptr;
  size_t bytes = 0;
};

// Image number `index` of a batch in which each image takes `image_bytes`. Throws std::out_of_range outside the batch.
TensorView ImageOf(const TensorView& batch, size_t index, size_t image_bytes);

}  // namespace infer

#endif  // ASCEND310_INFER_TENSOR_H_
