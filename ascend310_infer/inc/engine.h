#ifndef ASCEND310_INFER_ENGINE_H_
#define ASCEND310_INFER_ENGINE_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace infer {

struct TensorInfo {
  std::string name;
  std::vector<int64_t> shape;  // a dimension that the model leaves open is negative
  std::string element_type;    // "uint8", "float32", ...
  size_t bytes;                // of the whole tensor; 0 if a dimension is open
};

struct EngineOptions {
  std::string model_path;
  std::string device_type = "auto";  // auto, Ascend or CPU
  std::string precision = "auto";    // auto, float32 or fast
  std::string fusion_switch_path;    // Ascend graph fusion switches; empty: none
  int device_id = 0;
  int threads = 0;  // of the CPU; 0: the runtime decides
};

// A loaded model. A constructor of an implementation loads, the destructor releases everything. Use it from the thread
// that made it: AscendCL ties a model to the device context of that thread.
class Engine {
 public:
  Engine() = default;
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;
  virtual ~Engine() = default;

  // Runtime and device, for the report: "OpenVINO, CPU".
  virtual std::string Description() const = 0;
  virtual const std::vector<TensorInfo>& Inputs() const = 0;
  virtual const std::vector<TensorInfo>& Outputs() const = 0;

  // Runs the model once: reads Inputs()[i].bytes from inputs[i] and writes Outputs()[i].bytes to outputs[i], all in
  // host memory. Throws Error(kFailed) if the runtime fails.
  virtual void Run(const std::vector<void*>& inputs, const std::vector<void*>& outputs) = 0;
};

// Loads options.model_path with the runtime that its suffix and options.device_type call for.
// Throws Error(kUsage) if suffix and device don't fit, Error(kFailed) if the model, its runtime or the device is
// missing or the model doesn't load.
std::unique_ptr<Engine> LoadEngine(const EngineOptions& options);

// One per runtime, each in its own file and only there if the program was built with that runtime; called by LoadEngine
// with device_type "Ascend" or "CPU".
std::unique_ptr<Engine> LoadMindSporeLite(const EngineOptions& options);
std::unique_ptr<Engine> LoadAscendCL(const EngineOptions& options);
std::unique_ptr<Engine> LoadOpenVINO(const EngineOptions& options);

}  // namespace infer

#endif  // ASCEND310_INFER_ENGINE_H_
