// Runs .mindir and .ms models with MindSpore Lite, on Ascend or on the CPU.
#include <cstring>
#include <filesystem>

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

ElementType TypeOf(mindspore::DataType type) {
  switch (type) {
    case mindspore::DataType::kNumberTypeUInt8:
      return ElementType::kUint8;
    case mindspore::DataType::kNumberTypeInt32:
      return ElementType::kInt32;
    case mindspore::DataType::kNumberTypeInt64:
      return ElementType::kInt64;
    case mindspore::DataType::kNumberTypeFloat16:
      return ElementType::kFloat16;
    case mindspore::DataType::kNumberTypeFloat32:
      return ElementType::kFloat32;
    default:
      return ElementType::kUnknown;
  }
}

TensorInfo InfoOf(const mindspore::MSTensor& tensor) {
  const ElementType type = TypeOf(tensor.DataType());
  if (type == ElementType::kUnknown) {
    throw Error(kFailed, "tensor \"" + tensor.Name() +
                             "\" has an element type that this program does not know: MindSpore's " +
                             std::to_string(static_cast<int>(tensor.DataType())));
  }
  // Not DataSize(): of an output it may be known only after the first run.
  size_t bytes = SizeOf(type);
  for (int64_t dimension : tensor.Shape()) bytes *= dimension > 0 ? static_cast<size_t>(dimension) : 0;
  return {tensor.Name(), tensor.Shape(), type, bytes};
}

std::shared_ptr<mindspore::Context> ContextFor(const EngineOptions& options) {
  auto context = std::make_shared<mindspore::Context>();
  if (options.threads > 0) context->SetThreadNum(options.threads);
  if (options.device == Device::kCpu) {
    auto cpu = std::make_shared<mindspore::CPUDeviceInfo>();
    if (options.precision == Precision::kFast) cpu->SetEnableFP16(true);
    context->MutableDeviceInfo().push_back(cpu);
    return context;
  }
  auto ascend = std::make_shared<mindspore::AscendDeviceInfo>();
  ascend->SetDeviceID(static_cast<uint32_t>(options.device_id));
  if (options.precision == Precision::kFloat32) ascend->SetPrecisionMode("enforce_fp32");
  if (!options.fusion_switch_path.empty()) ascend->SetFusionSwitchConfigPath(options.fusion_switch_path);
  context->MutableDeviceInfo().push_back(ascend);
  return context;
}

class MindSporeLiteRequest : public Request {
 public:
  MindSporeLiteRequest(mindspore::Model* model, const Engine& engine)
      : model_(model), engine_(engine), input_tensors_(model->GetInputs()) {}

  void Run(const std::vector<ConstTensorView>& inputs, const std::vector<TensorView>& outputs) override {
    CheckViews(engine_.Inputs(), inputs);
    CheckViews(engine_.Outputs(), outputs);
    constexpr bool kTensorOwnsData = false;
    for (size_t i = 0; i < inputs.size(); ++i) {
      // An input tensor is only read; SetData has no form that says so.
      input_tensors_[i].SetData(const_cast<void*>(inputs[i].data), kTensorOwnsData);
    }
    std::vector<mindspore::MSTensor> results;
    Check(model_->Predict(input_tensors_, &results), "run the model");
    if (results.size() != outputs.size()) {
      throw Error(kFailed, "MindSpore Lite returned " + std::to_string(results.size()) + " outputs, expected " +
                               std::to_string(outputs.size()));
    }
    for (size_t i = 0; i < outputs.size(); ++i) {
      const std::shared_ptr<const void> data = results[i].Data();
      if (data == nullptr || results[i].DataSize() != outputs[i].bytes) {
        throw Error(kFailed, "MindSpore Lite returned " + std::to_string(results[i].DataSize()) +
                                 " bytes of output \"" + engine_.Outputs()[i].name + "\", expected " +
                                 std::to_string(outputs[i].bytes));
      }
      std::memcpy(outputs[i].data, data.get(), outputs[i].bytes);
    }
  }

 private:
  mindspore::Model* const model_;
  const Engine& engine_;
  std::vector<mindspore::MSTensor> input_tensors_;
};

class MindSporeLiteEngine : public Engine {
 public:
  explicit MindSporeLiteEngine(const EngineOptions& options)
      : description_(std::string("MindSpore Lite, ") + NameOf(options.device) +
                     (options.device == Device::kAscend ? " " + std::to_string(options.device_id) : "")) {
    const std::string& path = options.model_path;
    const bool is_ms = std::filesystem::path(path).extension() == ".ms";
    const auto type = is_ms ? mindspore::kMindIR_Lite : mindspore::kMindIR;
    Check(model_.Build(path, type, ContextFor(options)), "load " + path + " on " + NameOf(options.device));
    CloseInput(options.input_shape);
    for (const auto& tensor : model_.GetInputs()) inputs_.push_back(InfoOf(tensor));
    for (const auto& tensor : model_.GetOutputs()) outputs_.push_back(InfoOf(tensor));
  }

  std::string Description() const override { return description_; }
  const std::vector<TensorInfo>& Inputs() const override { return inputs_; }
  const std::vector<TensorInfo>& Outputs() const override { return outputs_; }
  size_t Requests() const override { return 1; }  // a Model computes one Predict at a time
  std::unique_ptr<Request> NewRequest() override { return std::make_unique<MindSporeLiteRequest>(&model_, *this); }

 private:
  // Gives the input's open dimensions, if it has any, a size.
  void CloseInput(const std::vector<int64_t>& wanted) {
    const std::vector<mindspore::MSTensor> tensors = model_.GetInputs();
    if (tensors.size() != 1) return;
    const std::vector<int64_t> shape = CloseDimensions(tensors[0].Shape(), wanted);
    if (shape != tensors[0].Shape()) Check(model_.Resize(tensors, {shape}), "set the size of the input");
  }

  const std::string description_;
  mindspore::Model model_;
  std::vector<TensorInfo> inputs_;
  std::vector<TensorInfo> outputs_;
};

}  // namespace

std::unique_ptr<Engine> LoadMindSporeLite(const EngineOptions& options) {
  return std::make_unique<MindSporeLiteEngine>(options);
}

}  // namespace infer
