// Runs .om models on Ascend with AscendCL.
#include <acl/acl.h>

#include <functional>

#include "engine.h"
#include "error.h"

namespace infer {
namespace {

void Check(aclError code, const std::string& what) {
  if (code == ACL_SUCCESS) return;
  const char* detail = aclGetRecentErrMsg();
  throw Error(kFailed, "AscendCL cannot " + what + ": error " + std::to_string(code) +
                           (detail == nullptr ? "" : " " + OneLine(detail)));
}

template <typename T>
T* CheckMade(T* made, const std::string& what) {
  if (made == nullptr) throw Error(kFailed, "AscendCL cannot make " + what);
  return made;
}

// Undoes what was acquired, last first, also when a constructor throws half-way. That a release itself fails is not
// reported: it happens on the way out, and there is nothing left to do about it.
class Releases {
 public:
  Releases() = default;
  Releases(const Releases&) = delete;
  Releases& operator=(const Releases&) = delete;
  ~Releases() {
    while (!steps_.empty()) {
      steps_.back()();
      steps_.pop_back();
    }
  }
  void Add(std::function<void()> step) { steps_.push_back(std::move(step)); }

 private:
  std::vector<std::function<void()>> steps_;
};

std::string TypeName(aclDataType type) {
  if (type == ACL_UINT8) return "uint8";
  if (type == ACL_FLOAT) return "float32";
  if (type == ACL_FLOAT16) return "float16";
  if (type == ACL_INT32) return "int32";
  if (type == ACL_INT64) return "int64";
  return "aclDataType " + std::to_string(type);
}

std::vector<int64_t> ShapeOf(const aclmdlIODims& dims) { return {dims.dims, dims.dims + dims.dimCount}; }

class AscendCLEngine : public Engine {
 public:
  explicit AscendCLEngine(const EngineOptions& options)
      : description_("AscendCL, Ascend " + std::to_string(options.device_id)) {
    OpenDevice(options.device_id);
    uint32_t model = 0;
    Check(aclmdlLoadFromFile(options.model_path.c_str(), &model), "load " + options.model_path);
    releases_.Add([model] { aclmdlUnload(model); });
    model_ = model;
    Describe();
    input_set_ = MakeDataset(inputs_, &input_memory_);
    output_set_ = MakeDataset(outputs_, &output_memory_);
  }

  std::string Description() const override { return description_; }
  const std::vector<TensorInfo>& Inputs() const override { return inputs_; }
  const std::vector<TensorInfo>& Outputs() const override { return outputs_; }

  void Run(const std::vector<void*>& inputs, const std::vector<void*>& outputs) override {
    for (size_t i = 0; i < inputs.size(); ++i) {
      const size_t bytes = inputs_[i].bytes;
      Check(aclrtMemcpy(input_memory_[i], bytes, inputs[i], bytes, to_device_), "copy the input to the device");
    }
    Check(aclmdlExecute(model_, input_set_, output_set_), "run the model");
    for (size_t i = 0; i < outputs.size(); ++i) {
      const size_t bytes = outputs_[i].bytes;
      Check(aclrtMemcpy(outputs[i], bytes, output_memory_[i], bytes, to_host_), "copy the output from the device");
    }
  }

 private:
  void OpenDevice(int device_id) {
    Check(aclInit(nullptr), "start");
    releases_.Add([] { aclFinalize(); });
    uint32_t devices = 0;
    Check(aclrtGetDeviceCount(&devices), "count the devices");
    if (static_cast<uint32_t>(device_id) >= devices) {
      throw Error(kFailed, "no Ascend device " + std::to_string(device_id) + ": this machine has " +
                               std::to_string(devices) + ", counted from 0; see npu-smi info");
    }
    Check(aclrtSetDevice(device_id), "open device " + std::to_string(device_id));
    releases_.Add([device_id] { aclrtResetDevice(device_id); });
    aclrtRunMode mode;
    Check(aclrtGetRunMode(&mode), "tell host from device");
    if (mode == ACL_DEVICE) to_device_ = to_host_ = ACL_MEMCPY_DEVICE_TO_DEVICE;  // the program itself runs on the NPU
  }

  // Fills inputs_ and outputs_.
  void Describe() {
    aclmdlDesc* description = CheckMade(aclmdlCreateDesc(), "a model description");
    releases_.Add([description] { aclmdlDestroyDesc(description); });
    Check(aclmdlGetDesc(description, model_), "describe the model");
    aclmdlIODims dims;
    for (size_t i = 0; i < aclmdlGetNumInputs(description); ++i) {
      Check(aclmdlGetInputDims(description, i, &dims), "describe the input");
      inputs_.push_back({aclmdlGetInputNameByIndex(description, i), ShapeOf(dims),
                         TypeName(aclmdlGetInputDataType(description, i)), aclmdlGetInputSizeByIndex(description, i)});
    }
    for (size_t i = 0; i < aclmdlGetNumOutputs(description); ++i) {
      Check(aclmdlGetOutputDims(description, i, &dims), "describe the output");
      outputs_.push_back({aclmdlGetOutputNameByIndex(description, i), ShapeOf(dims),
                          TypeName(aclmdlGetOutputDataType(description, i)),
                          aclmdlGetOutputSizeByIndex(description, i)});
    }
  }

  // Device memory for each tensor, and the dataset that hands it to the model.
  aclmdlDataset* MakeDataset(const std::vector<TensorInfo>& tensors, std::vector<void*>* memory) {
    aclmdlDataset* dataset = CheckMade(aclmdlCreateDataset(), "a dataset");
    releases_.Add([dataset] { aclmdlDestroyDataset(dataset); });
    for (const TensorInfo& tensor : tensors) {
      if (tensor.bytes == 0) throw Error(kFailed, "\"" + tensor.name + "\" has no fixed shape; give atc one");
      void* data = nullptr;
      Check(aclrtMalloc(&data, tensor.bytes, ACL_MEM_MALLOC_HUGE_FIRST),
            "allocate " + std::to_string(tensor.bytes) + " bytes on the device");
      releases_.Add([data] { aclrtFree(data); });
      memory->push_back(data);
      aclDataBuffer* buffer = CheckMade(aclCreateDataBuffer(data, tensor.bytes), "a data buffer");
      releases_.Add([buffer] { aclDestroyDataBuffer(buffer); });
      Check(aclmdlAddDatasetBuffer(dataset, buffer), "add a buffer to a dataset");
    }
    return dataset;
  }

  const std::string description_;
  Releases releases_;
  uint32_t model_ = 0;
  aclrtMemcpyKind to_device_ = ACL_MEMCPY_HOST_TO_DEVICE;
  aclrtMemcpyKind to_host_ = ACL_MEMCPY_DEVICE_TO_HOST;
  aclmdlDataset* input_set_ = nullptr;
  aclmdlDataset* output_set_ = nullptr;
  std::vector<void*> input_memory_;
  std::vector<void*> output_memory_;
  std::vector<TensorInfo> inputs_;
  std::vector<TensorInfo> outputs_;
};

}  // namespace

std::unique_ptr<Engine> LoadAscendCL(const EngineOptions& options) { return std::make_unique<AscendCLEngine>(options); }

}  // namespace infer
