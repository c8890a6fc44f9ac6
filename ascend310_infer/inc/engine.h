#ifndef ASCEND310_INFER_ENGINE_H_
#define ASCEND310_INFER_ENGINE_H_

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "engine_options.h"
#include "tensor.h"

namespace infer {

// Memory of the host that a runtime reads and writes without copying it first. Must be gone before its engine, and
// after the requests that used it.
using HostMemory = std::unique_ptr<void, std::function<void(void*)>>;

// One run of a model at a time. Requests of the same engine may run at the same time, each in a thread of its own.
class Request {
 public:
  Request() = default;
  Request(const Request&) = delete;
  Request& operator=(const Request&) = delete;
  virtual ~Request() = default;

  // Reads Inputs() from `inputs` and writes Outputs() to `outputs`: host memory, one view per tensor, of the tensor's
  // size. Throws Error(kFailed) if the runtime fails or a view has another size.
  virtual void Run(const std::vector<ConstTensorView>& inputs, const std::vector<TensorView>& outputs) = 0;
};

// A loaded model. A constructor of an implementation loads, the destructor releases everything. It is made and
// destroyed in the same thread, its requests and memory before it.
class Engine {
 public:
  Engine() = default;
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;
  virtual ~Engine() = default;

  // Runtime and device, for the report, and in what precision it computes where the runtime tells: "OpenVINO, CPU,
  // float32".
  virtual std::string Description() const = 0;
  virtual const std::vector<TensorInfo>& Inputs() const = 0;
  virtual const std::vector<TensorInfo>& Outputs() const = 0;

  // How many requests at the same time make sense: EngineOptions::requests as far as the runtime can.
  virtual size_t Requests() const = 0;
  virtual std::unique_ptr<Request> NewRequest() = 0;

  // At least `bytes` of zeros that begin on a page. Throws std::bad_alloc, or Error(kFailed) if the runtime fails.
  virtual HostMemory Allocate(size_t bytes);
};

// Loads options.model_path with the runtime that its suffix and options.device call for.
// Throws Error(kUsage) if suffix and device don't fit, Error(kFailed) if the model, its runtime or the device is
// missing or the model doesn't load.
std::unique_ptr<Engine> LoadEngine(const EngineOptions& options);

// One per runtime, each in its own file and only there if the program was built with that runtime; called by LoadEngine
// with the device resolved to Ascend or CPU.
std::unique_ptr<Engine> LoadMindSporeLite(const EngineOptions& options);
std::unique_ptr<Engine> LoadAscendCL(const EngineOptions& options);
std::unique_ptr<Engine> LoadOpenVINO(const EngineOptions& options);

// `shape` with its open dimensions taken from `wanted`, unless the two have another number of dimensions. Without any
// wanted, an open first one, the batch, is 1.
std::vector<int64_t> CloseDimensions(std::vector<int64_t> shape, const std::vector<int64_t>& wanted);

// Throws Error(kFailed) unless there is one view per tensor, of the tensor's size.
void CheckViews(const std::vector<TensorInfo>& tensors, const std::vector<ConstTensorView>& views);
void CheckViews(const std::vector<TensorInfo>& tensors, const std::vector<TensorView>& views);

}  // namespace infer

#endif  // ASCEND310_INFER_ENGINE_H_
