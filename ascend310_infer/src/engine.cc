#include "engine.h"

#include <cstdlib>
#include <cstring>
#include <new>

#include "error.h"

namespace infer {
namespace {

template <typename View>
void Check(const std::vector<TensorInfo>& tensors, const std::vector<View>& views) {
  if (tensors.size() != views.size()) {
    throw Error(kFailed, "the model has " + std::to_string(tensors.size()) + " such tensors, found " +
                             std::to_string(views.size()) + " buffers");
  }
  for (size_t i = 0; i < tensors.size(); ++i) {
    if (tensors[i].bytes == views[i].bytes) continue;
    throw Error(kFailed, "tensor \"" + tensors[i].name + "\" needs " + std::to_string(tensors[i].bytes) +
                             " bytes, found a buffer of " + std::to_string(views[i].bytes));
  }
}

}  // namespace

HostMemory Engine::Allocate(size_t bytes) {
  constexpr size_t kPageBytes = 4096;
  const size_t pages = (bytes + kPageBytes - 1) / kPageBytes;
  HostMemory memory(std::aligned_alloc(kPageBytes, pages * kPageBytes), &std::free);
  if (memory == nullptr) throw std::bad_alloc();
  std::memset(memory.get(), 0, bytes);
  return memory;
}

std::vector<int64_t> CloseDimensions(std::vector<int64_t> shape, const std::vector<int64_t>& wanted) {
  if (wanted.empty() && !shape.empty() && shape[0] < 0) shape[0] = 1;  // the batch of a model without metadata
  if (shape.size() != wanted.size()) return shape;
  for (size_t i = 0; i < shape.size(); ++i) {
    if (shape[i] < 0) shape[i] = wanted[i];
  }
  return shape;
}

void CheckViews(const std::vector<TensorInfo>& tensors, const std::vector<ConstTensorView>& views) {
  Check(tensors, views);
}

void CheckViews(const std::vector<TensorInfo>& tensors, const std::vector<TensorView>& views) { Check(tensors, views); }

}  // namespace infer
