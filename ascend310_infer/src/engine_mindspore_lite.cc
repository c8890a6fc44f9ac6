// Runs .mindir and .ms models with MindSpore Lite, on Ascend or on the CPU.
#include <cstring>

#include "engine.h"
#include "error.h"
#include "include/api/context.h"
#include "include/api/model.h"
#include "include/api/status.h"
#include "include/api/types.h"

namespace infer {
namespace {

void Check(const mindspore::Status& status, const std::string& what) {
  if (!status.IsOk()) throw Error(kFailed, "MindSpore Lite cannot " + what + ": " + OneLine(status.ToString()));
}

struct ElementType {
  mindspore::DataType type;
  const char* name;
  size_t bytes;
};

constexpr ElementType kElementTypes[] = {
    {mindspore::DataType::kNumberTypeUInt8, "uint8", 1},     {mindspore::DataType::kNumberTypeInt32, "int32", 4},
    {mindspore::DataType::kNumberTypeInt64, "int64", 8},     {mindspore::DataType::kNumberTypeFloat16, "float16", 2},
    {mindspore::DataType::kNumberTypeFloat32, "float32", 4},
};

TensorInfo InfoOf(const mindspore::MSTensor& tensor) {
  for (const ElementType& element : kElementTypes) {
    if (element.type != tensor.DataType()) continue;
    // Not DataSize(): of an output it may be known only after the first run.
    size_t bytes = element.bytes;
    for (int64_t dimension : tensor.Shape()) bytes *= dimension > 0 ? static_cast<size_t>(dimension) : 0;
    return {tensor.Name(), tensor.Shape(), element.name, bytes};
  }
  throw Error(kFailed, "tensor \"" + tensor.Name() +
                           "\" has an element type that this program does not know: MindSpore's " +
                           std::to_string(static_cast<int>(tensor.DataType())));
}

std::shared_ptr<mindspore::Context> ContextFor(const EngineOptions& options) {
  auto context = std::make_shared<mindspore::Context>();
  if (options.threads > 0) context->SetThreadNum(options.threads);
  if (options.device_type == "CPU") {
    auto cpu = std::make_shared<mindspore::CPUDeviceInfo>();
    if (options.precision == "fast") cpu->SetEnableFP16(true);
    context->MutableDeviceInfo().push_back(cpu);
    return context;
  }
  auto ascend = std::make_shared<mindspore::AscendDeviceInfo>();
  ascend->SetDeviceID(static_cast<uint32_t>(options.device_id));
  if (options.precision == "float32") ascend->SetPrecisionMode("enforce_fp32");
  if (!options.fusion_switch_path.empty()) ascend->SetFusionSwitchConfigPath(options.fusion_switch_path);
  context->MutableDeviceInfo().push_back(ascend);
  return context;
}

class MindSporeLiteEngine : public Engine {
 public:
  explicit MindSporeLiteEngine(const EngineOptions& options)
      : description_("MindSpore Lite, " + options.device_type +
                     (options.device_type == "Ascend" ? " " + std::to_string(options.device_id) : "")) {
    const std::string& path = options.model_path;
    const bool is_ms = path.size() > 3 && path.compare(path.size() - 3, 3, ".ms") == 0;
    const auto type = is_ms ? mindspore::kMindIR_Lite : mindspore::kMindIR;
    Check(model_.Build(path, type, ContextFor(options)), "load " + path + " on " + options.device_type);
    input_tensors_ = model_.GetInputs();
    for (const auto& tensor : input_tensors_) inputs_.push_back(InfoOf(tensor));
    for (const auto& tensor : model_.GetOutputs()) outputs_.push_back(InfoOf(tensor));
  }

  std::string Description() const override { return description_; }
  const std::vector<TensorInfo>& Inputs() const override { return inputs_; }
  const std::vector<TensorInfo>& Outputs() const override { return outputs_; }

  void Run(const std::vector<void*>& inputs, const std::vector<void*>& outputs) override {
    constexpr bool kTensorOwnsData = false;
    for (size_t i = 0; i < inputs.size(); ++i) input_tensors_[i].SetData(inputs[i], kTensorOwnsData);
    std::vector<mindspore::MSTensor> results;
    Check(model_.Predict(input_tensors_, &results), "run the model");
    if (results.size() != outputs.size()) {
      throw Error(kFailed, "MindSpore Lite returned " + std::to_string(results.size()) + " outputs, expected " +
                               std::to_string(outputs.size()));
    }
    for (size_t i = 0; i < outputs.size(); ++i) {
      const std::shared_ptr<const void> data = results[i].Data();
      if (data == nullptr || results[i].DataSize() != outputs_[i].bytes) {
        throw Error(kFailed, "MindSpore Lite returned " + std::to_string(results[i].DataSize()) +
                                 " bytes of output \"" + outputs_[i].name + "\", expected " +
                                 std::to_string(outputs_[i].bytes));
      }
      std::memcpy(outputs[i], data.get(), outputs_[i].bytes);
    }
  }

 private:
  const std::string description_;
  mindspore::Model model_;
  std::vector<mindspore::MSTensor> input_tensors_;
  std::vector<TensorInfo> inputs_;
  std::vector<TensorInfo> outputs_;
};

}  // namespace

std::unique_ptr<Engine> LoadMindSporeLite(const EngineOptions& options) {
  return std::make_unique<MindSporeLiteEngine>(options);
}

}  // namespace infer
