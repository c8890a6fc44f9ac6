// Runs .onnx and .xml models on the CPU with OpenVINO.
#include <openvino/openvino.hpp>

#include "engine.h"
#include "error.h"

namespace infer {
namespace {

ElementType TypeOf(const ov::element::Type& type) {
  if (type == ov::element::u8) return ElementType::kUint8;
  if (type == ov::element::i32) return ElementType::kInt32;
  if (type == ov::element::i64) return ElementType::kInt64;
  if (type == ov::element::f16) return ElementType::kFloat16;
  if (type == ov::element::f32) return ElementType::kFloat32;
  return ElementType::kUnknown;
}

TensorInfo InfoOf(const ov::Output<const ov::Node>& port) {
  TensorInfo info{port.get_any_name(), {}, TypeOf(port.get_element_type()), 0};
  const ov::PartialShape& shape = port.get_partial_shape();
  if (shape.rank().is_static()) {
    for (const ov::Dimension& d : shape) info.shape.push_back(d.is_static() ? d.get_length() : -1);
  }
  if (shape.is_static()) info.bytes = port.get_element_type().size() * ov::shape_size(shape.to_shape());
  return info;
}

class OpenVINORequest : public Request {
 public:
  OpenVINORequest(ov::CompiledModel* model, const Engine& engine)
      : model_(*model), engine_(engine), request_(model->create_infer_request()) {}

  void Run(const std::vector<ConstTensorView>& inputs, const std::vector<TensorView>& outputs) override {
    CheckViews(engine_.Inputs(), inputs);
    CheckViews(engine_.Outputs(), outputs);
    try {
      for (size_t i = 0; i < inputs.size(); ++i) {
        // An input tensor is only read; ov::Tensor has no constructor that says so.
        request_.set_input_tensor(i, Wrap(model_.input(i), const_cast<void*>(inputs[i].data)));
      }
      for (size_t i = 0; i < outputs.size(); ++i) {
        request_.set_output_tensor(i, Wrap(model_.output(i), outputs[i].data));
      }
      request_.start_async();
      request_.wait();
    } catch (const std::exception& error) {
      throw Error(kFailed, "OpenVINO failed to run the model: " + OneLine(error.what()));
    }
  }

 private:
  static ov::Tensor Wrap(const ov::Output<const ov::Node>& port, void* data) {
    return ov::Tensor(port.get_element_type(), port.get_shape(), data);
  }

  const ov::CompiledModel model_;
  const Engine& engine_;
  ov::InferRequest request_;
};

class OpenVINOEngine : public Engine {
 public:
  explicit OpenVINOEngine(const EngineOptions& options) : requests_(static_cast<size_t>(options.requests)) {
    try {
      const std::shared_ptr<ov::Model> model = core_.read_model(options.model_path);
      if (model->is_dynamic() && model->inputs().size() == 1) {
        const std::vector<int64_t> shape = CloseDimensions(InfoOf(model->input()).shape, options.input_shape);
        model->reshape(ov::PartialShape(std::vector<ov::Dimension>(shape.begin(), shape.end())));
      }
      model_ = core_.compile_model(model, "CPU", ConfigFor(options));
      if (requests_ == 0) requests_ = model_.get_property(ov::optimal_number_of_infer_requests);
      for (const auto& port : model_.inputs()) inputs_.push_back(InfoOf(port));
      for (const auto& port : model_.outputs()) outputs_.push_back(InfoOf(port));
    } catch (const std::exception& error) {
      throw Error(kFailed, "OpenVINO cannot load " + options.model_path + ": " + OneLine(error.what()));
    }
  }

  // With --precision=fast that depends on the processor, and OpenVINO says nothing when it stays with float32.
  std::string Description() const override {
    const ov::element::Type type = model_.get_property(ov::hint::inference_precision);
    const bool is_known = type == ov::element::f32 || type == ov::element::f16 || type == ov::element::bf16;
    const std::string digits = std::to_string(type.bitwidth());
    return "OpenVINO, CPU" +
           (is_known ? ", " + std::string(type == ov::element::bf16 ? "bfloat" : "float") + digits : "");
  }
  const std::vector<TensorInfo>& Inputs() const override { return inputs_; }
  const std::vector<TensorInfo>& Outputs() const override { return outputs_; }
  size_t Requests() const override { return requests_; }
  std::unique_ptr<Request> NewRequest() override { return std::make_unique<OpenVINORequest>(&model_, *this); }

 private:
  static ov::AnyMap ConfigFor(const EngineOptions& options) {
    ov::AnyMap config;
    if (options.requests == 1) {
      config.insert(ov::hint::performance_mode(ov::hint::PerformanceMode::LATENCY));
    } else {
      // Streams share the threads: as many images at a time as there are requests.
      config.insert(ov::hint::performance_mode(ov::hint::PerformanceMode::THROUGHPUT));
      if (options.requests > 1) config.insert(ov::num_streams(options.requests));
    }
    // Left alone, OpenVINO computes in bfloat16 on processors that are faster that way, which changes results.
    if (options.precision != Precision::kFast) config.insert(ov::hint::inference_precision(ov::element::f32));
    if (options.threads > 0) config.insert(ov::inference_num_threads(options.threads));
    return config;
  }

  ov::Core core_;
  ov::CompiledModel model_;
  size_t requests_;
  std::vector<TensorInfo> inputs_;
  std::vector<TensorInfo> outputs_;
};

}  // namespace

std::unique_ptr<Engine> LoadOpenVINO(const EngineOptions& options) { return std::make_unique<OpenVINOEngine>(options); }

}  // namespace infer
