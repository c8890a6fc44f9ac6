// Runs .onnx and .xml models on the CPU with OpenVINO.
#include <openvino/openvino.hpp>

#include "engine.h"
#include "error.h"

namespace infer {
namespace {

std::string TypeName(const ov::element::Type& type) {
  if (type == ov::element::u8) return "uint8";
  if (type == ov::element::f32) return "float32";
  if (type == ov::element::f16) return "float16";
  if (type == ov::element::i32) return "int32";
  if (type == ov::element::i64) return "int64";
  return type.to_string();
}

TensorInfo InfoOf(const ov::Output<const ov::Node>& port) {
  TensorInfo info{port.get_any_name(), {}, TypeName(port.get_element_type()), 0};
  const ov::PartialShape& shape = port.get_partial_shape();
  if (shape.rank().is_static()) {
    for (const ov::Dimension& d : shape) info.shape.push_back(d.is_static() ? d.get_length() : -1);
  }
  if (shape.is_static()) info.bytes = port.get_element_type().size() * ov::shape_size(shape.to_shape());
  return info;
}

class OpenVINOEngine : public Engine {
 public:
  explicit OpenVINOEngine(const EngineOptions& options) {
    ov::AnyMap config{ov::hint::performance_mode(ov::hint::PerformanceMode::LATENCY)};
    // Left alone, OpenVINO computes in bfloat16 on processors that are faster that way, which changes results.
    if (options.precision != "fast") config.insert(ov::hint::inference_precision(ov::element::f32));
    if (options.threads > 0) config.insert(ov::inference_num_threads(options.threads));
    try {
      model_ = core_.compile_model(options.model_path, "CPU", config);
      request_ = model_.create_infer_request();
      for (const auto& port : model_.inputs()) inputs_.push_back(InfoOf(port));
      for (const auto& port : model_.outputs()) outputs_.push_back(InfoOf(port));
    } catch (const std::exception& error) {
      throw Error(kFailed, "OpenVINO cannot load " + options.model_path + ": " + OneLine(error.what()));
    }
  }

  std::string Description() const override { return "OpenVINO, CPU"; }
  const std::vector<TensorInfo>& Inputs() const override { return inputs_; }
  const std::vector<TensorInfo>& Outputs() const override { return outputs_; }

  void Run(const std::vector<void*>& inputs, const std::vector<void*>& outputs) override {
    try {
      for (size_t i = 0; i < inputs.size(); ++i) request_.set_input_tensor(i, Wrap(model_.input(i), inputs[i]));
      for (size_t i = 0; i < outputs.size(); ++i) request_.set_output_tensor(i, Wrap(model_.output(i), outputs[i]));
      request_.infer();
    } catch (const std::exception& error) {
      throw Error(kFailed, "OpenVINO failed to run the model: " + OneLine(error.what()));
    }
  }

 private:
  static ov::Tensor Wrap(const ov::Output<const ov::Node>& port, void* data) {
    return ov::Tensor(port.get_element_type(), port.get_shape(), data);
  }

  ov::Core core_;
  ov::CompiledModel model_;
  ov::InferRequest request_;
  std::vector<TensorInfo> inputs_;
  std::vector<TensorInfo> outputs_;
};

}  // namespace

std::unique_ptr<Engine> LoadOpenVINO(const EngineOptions& options) { return std::make_unique<OpenVINOEngine>(options); }

}  // namespace infer
