// Runs .om models on Ascend with AscendCL.
#include <acl/acl.h>

#include <cstring>
#include <mutex>
#include <utility>

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

// Owns a handle of AscendCL. That a release itself fails is not reported: it happens on the way out, and there is
// nothing left to do about it.
template <auto Release>
struct Releaser {
  template <typename T>
  void operator()(T* handle) const {
    Release(handle);
  }
};
using ModelDescription = std::unique_ptr<aclmdlDesc, Releaser<&aclmdlDestroyDesc>>;
using Dataset = std::unique_ptr<aclmdlDataset, Releaser<&aclmdlDestroyDataset>>;
using DataBuffer = std::unique_ptr<aclDataBuffer, Releaser<&aclDestroyDataBuffer>>;
using DeviceMemory = std::unique_ptr<void, Releaser<&aclrtFree>>;

struct StreamReleaser {
  void operator()(aclrtStream stream) const {
    aclrtSynchronizeStream(stream);  // after an error there may be work left, which must not outlive its memory
    aclrtDestroyStream(stream);
  }
};
using Stream = std::unique_ptr<void, StreamReleaser>;

// Takes over what a function of AscendCL has made and returned.
template <typename Handle>
Handle Take(typename Handle::pointer made, const std::string& what) {
  if (made == nullptr) throw Error(kFailed, "AscendCL cannot make " + what);
  return Handle(made);
}

ElementType TypeOf(aclDataType type) {
  switch (type) {
    case ACL_UINT8:
      return ElementType::kUint8;
    case ACL_INT32:
      return ElementType::kInt32;
    case ACL_INT64:
      return ElementType::kInt64;
    case ACL_FLOAT16:
      return ElementType::kFloat16;
    case ACL_FLOAT:
      return ElementType::kFloat32;
    default:
      return ElementType::kUnknown;
  }
}

class Runtime {
 public:
  Runtime() { Check(aclInit(nullptr), "start"); }
  Runtime(const Runtime&) = delete;
  Runtime& operator=(const Runtime&) = delete;
  ~Runtime() { aclFinalize(); }
};

class OpenDevice {
 public:
  explicit OpenDevice(int id) : id_(id) {
    uint32_t devices = 0;
    Check(aclrtGetDeviceCount(&devices), "count the devices");
    if (static_cast<uint32_t>(id) >= devices) {
      throw Error(kFailed, "no Ascend device " + std::to_string(id) + ": this machine has " + std::to_string(devices) +
                               ", counted from 0; see npu-smi info");
    }
    Check(aclrtSetDevice(id), "open device " + std::to_string(id));
  }
  OpenDevice(const OpenDevice&) = delete;
  OpenDevice& operator=(const OpenDevice&) = delete;
  ~OpenDevice() { aclrtResetDevice(id_); }

 private:
  const int id_;
};

class LoadedModel {
 public:
  explicit LoadedModel(const std::string& path) { Check(aclmdlLoadFromFile(path.c_str(), &id_), "load " + path); }
  LoadedModel(const LoadedModel&) = delete;
  LoadedModel& operator=(const LoadedModel&) = delete;
  ~LoadedModel() { aclmdlUnload(id_); }
  uint32_t id() const { return id_; }

 private:
  uint32_t id_ = 0;
};

// Device memory for each of some tensors, and the dataset that hands it to the model.
class DeviceTensors {
 public:
  explicit DeviceTensors(const std::vector<TensorInfo>& tensors)
      : dataset_(Take<Dataset>(aclmdlCreateDataset(), "a dataset")) {
    for (const TensorInfo& tensor : tensors) {
      if (tensor.bytes == 0) throw Error(kFailed, "\"" + tensor.name + "\" has no fixed shape; give atc one");
      void* data = nullptr;
      Check(aclrtMalloc(&data, tensor.bytes, ACL_MEM_MALLOC_HUGE_FIRST),
            "allocate " + std::to_string(tensor.bytes) + " bytes on the device");
      memory_.emplace_back(data);
      buffers_.push_back(Take<DataBuffer>(aclCreateDataBuffer(data, tensor.bytes), "a data buffer"));
      Check(aclmdlAddDatasetBuffer(dataset_.get(), buffers_.back().get()), "add a buffer to a dataset");
    }
  }
  aclmdlDataset* dataset() const { return dataset_.get(); }
  void* memory(size_t index) const { return memory_[index].get(); }

 private:
  std::vector<DeviceMemory> memory_;
  std::vector<DataBuffer> buffers_;
  Dataset dataset_;  // the last, because it goes before what it refers to
};

class AscendCLEngine : public Engine {
 public:
  explicit AscendCLEngine(const EngineOptions& options)
      : description_("AscendCL, Ascend " + std::to_string(options.device_id)),
        requests_(options.requests == 0 ? kDefaultRequests : static_cast<size_t>(options.requests)),
        device_(options.device_id),
        model_(options.model_path) {
    aclrtRunMode mode;
    Check(aclrtGetRunMode(&mode), "tell host from device");
    if (mode == ACL_DEVICE) to_device_ = to_host_ = ACL_MEMCPY_DEVICE_TO_DEVICE;  // the program itself runs on the NPU
    Check(aclrtGetCurrentContext(&context_), "get the context of the device");
    ReadTensorInfos();
  }

  std::string Description() const override { return description_; }
  const std::vector<TensorInfo>& Inputs() const override { return inputs_; }
  const std::vector<TensorInfo>& Outputs() const override { return outputs_; }
  size_t Requests() const override { return requests_; }
  std::unique_ptr<Request> NewRequest() override;

  // Only page-locked memory is copied to and from the device without the processor.
  HostMemory Allocate(size_t bytes) override {
    void* data = nullptr;
    Check(aclrtMallocHost(&data, bytes), "allocate " + std::to_string(bytes) + " bytes on the host");
    HostMemory memory(data, [](void* host) { aclrtFreeHost(host); });
    std::memset(data, 0, bytes);
    return memory;
  }

 private:
  friend class AscendCLRequest;
  static constexpr size_t kDefaultRequests = 2;  // one computes, the next is being copied

  static std::vector<int64_t> ShapeOf(const aclmdlIODims& dims) { return {dims.dims, dims.dims + dims.dimCount}; }

  // Fills inputs_ and outputs_.
  void ReadTensorInfos() {
    const auto description = Take<ModelDescription>(aclmdlCreateDesc(), "a model description");
    aclmdlDesc* const model = description.get();
    Check(aclmdlGetDesc(model, model_.id()), "describe the model");
    aclmdlIODims dims;
    for (size_t i = 0; i < aclmdlGetNumInputs(model); ++i) {
      Check(aclmdlGetInputDims(model, i, &dims), "describe the input");
      inputs_.push_back({aclmdlGetInputNameByIndex(model, i), ShapeOf(dims), TypeOf(aclmdlGetInputDataType(model, i)),
                         aclmdlGetInputSizeByIndex(model, i)});
    }
    for (size_t i = 0; i < aclmdlGetNumOutputs(model); ++i) {
      Check(aclmdlGetOutputDims(model, i, &dims), "describe the output");
      outputs_.push_back({aclmdlGetOutputNameByIndex(model, i), ShapeOf(dims),
                          TypeOf(aclmdlGetOutputDataType(model, i)), aclmdlGetOutputSizeByIndex(model, i)});
    }
  }

  const std::string description_;
  const size_t requests_;
  const Runtime runtime_;  // what follows is released in the reverse order
  const OpenDevice device_;
  const LoadedModel model_;
  std::mutex model_mutex_;  // a model id computes one dataset at a time
  aclrtContext context_ = nullptr;
  aclrtMemcpyKind to_device_ = ACL_MEMCPY_HOST_TO_DEVICE;
  aclrtMemcpyKind to_host_ = ACL_MEMCPY_DEVICE_TO_HOST;
  std::vector<TensorInfo> inputs_;
  std::vector<TensorInfo> outputs_;
};

// A stream and tensors of its own: while the model computes one request, the copies of the others go on.
class AscendCLRequest : public Request {
 public:
  explicit AscendCLRequest(AscendCLEngine* engine)
      : engine_(*engine), inputs_(engine->Inputs()), outputs_(engine->Outputs()), stream_(MakeStream()) {}

  void Run(const std::vector<ConstTensorView>& inputs, const std::vector<TensorView>& outputs) override {
    CheckViews(engine_.Inputs(), inputs);
    CheckViews(engine_.Outputs(), outputs);
    Check(aclrtSetCurrentContext(engine_.context_), "use the device in this thread");
    for (size_t i = 0; i < inputs.size(); ++i) {
      Copy(inputs_.memory(i), inputs[i], engine_.to_device_, "copy the input to the device");
    }
    Synchronize("copy the input to the device");
    {
      const std::lock_guard<std::mutex> lock(engine_.model_mutex_);
      Check(aclmdlExecuteAsync(engine_.model_.id(), inputs_.dataset(), outputs_.dataset(), stream_.get()),
            "run the model");
      Synchronize("run the model");
    }
    for (size_t i = 0; i < outputs.size(); ++i) {
      Copy(outputs[i].data, {outputs_.memory(i), outputs[i].bytes}, engine_.to_host_,
           "copy the output from the device");
    }
    Synchronize("copy the output from the device");
  }

 private:
  static Stream MakeStream() {
    aclrtStream stream = nullptr;
    Check(aclrtCreateStream(&stream), "make a stream");
    return Stream(stream);
  }

  void Copy(void* to, const ConstTensorView& from, aclrtMemcpyKind kind, const char* what) {
    Check(aclrtMemcpyAsync(to, from.bytes, from.data, from.bytes, kind, stream_.get()), what);
  }

  void Synchronize(const char* what) { Check(aclrtSynchronizeStream(stream_.get()), what); }

  AscendCLEngine& engine_;
  const DeviceTensors inputs_;
  const DeviceTensors outputs_;
  const Stream stream_;  // the last, because it goes before the memory that it works on
};

std::unique_ptr<Request> AscendCLEngine::NewRequest() { return std::make_unique<AscendCLRequest>(this); }

}  // namespace

std::unique_ptr<Engine> LoadAscendCL(const EngineOptions& options) { return std::make_unique<AscendCLEngine>(options); }

}  // namespace infer
