// Plays libmindspore-lite for engine_mindspore_lite.cc, against the real headers: implements the members that the
// engine uses, computes an argmax, and holds the engine to the documented contract.
#include "mindspore_lite_fake.h"

#include <cstring>
#include <fstream>

#include "argmax.h"
#include "include/api/context.h"
#include "include/api/model.h"
#include "ledger.h"

using ledger::Acquire;
using ledger::Expect;
using ledger::Fails;
using ledger::IsLive;
using ledger::Release;

namespace {

lite_fake::Setup setup;
std::string last_build;

std::string Text(const std::vector<char>& chars) { return {chars.begin(), chars.end()}; }
std::vector<char> Chars(const std::string& text) { return {text.begin(), text.end()}; }

// Notes an object for as long as it lives; a copy is another one.
class Noted {
 public:
  explicit Noted(const char* kind) : kind_(kind) { Acquire(this, kind_); }
  Noted(const Noted& other) : Noted(other.kind_) {}
  ~Noted() { Release(this, kind_); }

 private:
  const char* const kind_;
};

}  // namespace

lite_fake::Setup& lite_fake::TheSetup() { return setup; }
std::string& lite_fake::LastBuild() { return last_build; }

namespace mindspore {

struct Status::Data {
  enum StatusCode code = kSuccess;
  std::string message;
};
Status::Status() : data_(std::make_shared<Data>()) {}
Status::Status(enum StatusCode code, const std::vector<char>& message) : Status() {
  data_->code = code;
  data_->message = Text(message);
}
bool Status::IsOk() const { return data_->code == kSuccess; }
std::vector<char> Status::ToCString() const { return Chars(data_->message); }

struct Context::Data {
  Noted noted{"context"};
  int32_t threads = 0;
  std::vector<std::shared_ptr<DeviceInfoContext>> devices;
};
Context::Context() : data_(std::make_shared<Data>()) {}
void Context::SetThreadNum(int32_t threads) { data_->threads = threads; }
int32_t Context::GetThreadNum() const { return data_->threads; }
std::vector<std::shared_ptr<DeviceInfoContext>>& Context::MutableDeviceInfo() { return data_->devices; }

struct DeviceInfoContext::Data {
  Noted noted{"device info"};
  std::string asked;
};
DeviceInfoContext::DeviceInfoContext() : data_(std::make_shared<Data>()) {}
std::vector<char> DeviceInfoContext::GetProviderChar() const { return Chars(data_->asked); }
void CPUDeviceInfo::SetEnableFP16(bool on) { data_->asked += on ? ", fp16" : ""; }
void AscendDeviceInfo::SetDeviceID(uint32_t id) { data_->asked += " " + std::to_string(id); }
void AscendDeviceInfo::SetPrecisionMode(const std::vector<char>& mode) { data_->asked += ", precision " + Text(mode); }
void AscendDeviceInfo::SetFusionSwitchConfigPath(const std::vector<char>& path) {
  data_->asked += ", fusion " + Text(path);
}

class MSTensor::Impl {
 public:
  Noted noted{"tensor"};
  std::string name;
  enum DataType type = DataType::kTypeUnknown;
  std::vector<int64_t> shape;
  void* user_data = nullptr;                   // of an input
  std::shared_ptr<std::vector<uint8_t>> data;  // of an output
};
MSTensor::MSTensor() = default;
MSTensor::MSTensor(const std::shared_ptr<Impl>& impl) : impl_(impl) {}
MSTensor::~MSTensor() = default;
std::vector<char> MSTensor::CharName() const { return Chars(impl_->name); }
enum DataType MSTensor::DataType() const { return impl_->type; }
const std::vector<int64_t>& MSTensor::Shape() const { return impl_->shape; }
size_t MSTensor::DataSize() const { return impl_->data ? impl_->data->size() : 0; }
std::shared_ptr<const void> MSTensor::Data() const {
  return impl_->data ? std::shared_ptr<const void>(impl_->data, impl_->data->data()) : nullptr;
}
void MSTensor::SetData(void* data, bool own_data) {
  Expect(data != nullptr, "SetData(nullptr)");
  Expect(!own_data, "SetData: the tensor would free memory that belongs to the program");
  impl_->user_data = data;
}

class ModelImpl {
 public:
  Noted noted{"model"};
  bool built = false;
  std::shared_ptr<Context> context;
  MSTensor input, output;
};

namespace {

MSTensor MakeTensor(const std::string& name, enum DataType type, const std::vector<int64_t>& shape) {
  auto impl = std::make_shared<MSTensor::Impl>();
  impl->name = name;
  impl->type = type;
  impl->shape = shape;
  return MSTensor(impl);
}

}  // namespace

Model::Model() : impl_(std::make_shared<ModelImpl>()) {}
Model::~Model() = default;

Status Model::Build(const std::vector<char>& path, ModelType type, const std::shared_ptr<Context>& context) {
  Expect(!impl_->built, "Build twice");
  if (Fails("Build")) return Status(kLiteError, "told by\nthe fake");
  if (!Expect(context != nullptr && context->MutableDeviceInfo().size() == 1, "Build needs exactly one device")) {
    return Status(kLiteParamInvalid, "");
  }
  char magic[6] = {};
  std::ifstream(Text(path), std::ios::binary).read(magic, 6);
  if (std::memcmp(magic, "MINDIR", 6) != 0) return Status(kLiteGraphFileError, "not a model");
  DeviceInfoContext& device = *context->MutableDeviceInfo()[0];
  last_build = (device.GetDeviceType() == kAscend ? "Ascend" : "CPU") + device.GetProvider() +
               (type == kMindIR ? ", MindIR" : ", MindIR_Lite") + ", " + std::to_string(context->GetThreadNum());
  std::vector<int64_t> output_shape = setup.input_shape;
  output_shape.erase(output_shape.begin() + 1);
  impl_->input = MakeTensor("scores", static_cast<DataType>(setup.input_type), setup.input_shape);
  impl_->output = MakeTensor("classes", DataType::kNumberTypeUInt8, output_shape);
  impl_->context = context;
  impl_->built = true;
  return Status();
}

std::vector<MSTensor> Model::GetInputs() {
  if (!Expect(impl_->built, "GetInputs needs Build before")) return {};
  return {impl_->input};
}

std::vector<MSTensor> Model::GetOutputs() {
  if (!Expect(impl_->built, "GetOutputs needs Build before")) return {};
  return {impl_->output};
}

Status Model::Resize(const std::vector<MSTensor>& inputs, const std::vector<std::vector<int64_t>>& shapes) {
  if (Fails("Resize")) return Status(kLiteError, "told by\nthe fake");
  if (!Expect(impl_->built && inputs.size() == 1 && shapes.size() == 1, "Resize needs Build, and each input once")) {
    return Status(kLiteParamInvalid, "");
  }
  setup.input_shape = shapes[0];
  impl_->input.impl()->shape = shapes[0];
  impl_->output.impl()->shape = {shapes[0][0], shapes[0][2]};
  return Status();
}

// The outputs are new tensors, with the model's memory behind them; after a failure there are none.
Status Model::Predict(const std::vector<MSTensor>& inputs, std::vector<MSTensor>* outputs, const MSKernelCallBack&,
                      const MSKernelCallBack&) {
  outputs->clear();
  if (Fails("Predict")) return Status(kLiteError, "told by\nthe fake");
  if (!Expect(impl_->built && inputs.size() == 1 && inputs[0].impl()->user_data != nullptr,
              "Predict needs Build, and SetData of every input")) {
    return Status(kLiteInputTensorError, "");
  }
  const auto& shape = setup.input_shape;
  MSTensor result = MakeTensor("classes", DataType::kNumberTypeUInt8, {shape[0], shape[2]});
  result.impl()->data = std::make_shared<std::vector<uint8_t>>(shape[0] * shape[2]);
  Argmax(static_cast<const float*>(inputs[0].impl()->user_data), shape, result.impl()->data->data());
  result.impl()->data->resize(result.impl()->data->size() - setup.bytes_lost);
  if (setup.outputs_lost == 0) outputs->push_back(result);
  return Status();
}

}  // namespace mindspore
