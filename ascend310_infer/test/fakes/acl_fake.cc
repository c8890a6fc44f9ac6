// Plays libascendcl for engine_acl.cc: computes an argmax and holds the engine to the documented contract.
#include "acl_fake.h"

#include <acl/acl.h>

#include <cstdlib>
#include <cstring>
#include <fstream>
#include <functional>
#include <set>
#include <thread>

#include "argmax.h"
#include "ledger.h"

struct aclmdlDesc {
  bool filled = false;
};
struct aclDataBuffer {
  void* data;
  size_t size;
};
struct aclmdlDataset {
  std::vector<aclDataBuffer*> buffers;
};

// What is given to a stream waits until the stream is synchronised: a result that is read too early is not there yet.
struct FakeStream {
  std::vector<std::function<void()>> work;
  bool runs_model = false;
};

using ledger::Acquire;
using ledger::AnyLive;
using ledger::Expect;
using ledger::Fails;
using ledger::IsLive;
using ledger::Release;

namespace {

constexpr aclError kFailure = 500001;
constexpr uint32_t kModelId = 7;

// Addresses that stand for what AscendCL has without giving a pointer to it.
const char kRuntime = 0, kDevice = 0, kModel = 0;
char context;
std::set<std::thread::id> device_threads;  // that have set the device or its context
bool model_is_running = false;

acl_fake::Setup setup;

size_t Bytes(bool input) {
  const auto& shape = setup.input_shape;
  const int64_t values = input ? shape[0] * shape[1] * shape[2] * 4 : shape[0] * shape[2];
  return static_cast<size_t>(values) * setup.open_dimension_bytes;
}

bool DeviceIsOpen(const std::string& call) {
  const auto lock = ledger::Lock();
  return Expect(IsLive(&kDevice, "device"), call + " needs aclrtSetDevice before") &&
         Expect(device_threads.count(std::this_thread::get_id()) == 1, call + " in a thread without the device");
}

bool Described(const aclmdlDesc* description, size_t index) {
  return Expect(IsLive(description, "description") && description->filled, "description read before aclmdlGetDesc") &&
         Expect(index == 0, "tensor index out of range");
}

bool IsDeviceMemory(const aclmdlDataset* dataset, size_t bytes) {
  if (!Expect(IsLive(dataset, "dataset") && dataset->buffers.size() == 1, "a dataset with one buffer is needed")) {
    return false;
  }
  const aclDataBuffer* buffer = dataset->buffers[0];
  return Expect(IsLive(buffer, "data buffer") && IsLive(buffer->data, "device memory") && buffer->size == bytes,
                "a data buffer with live device memory of the tensor's size is needed");
}

aclError FillDims(const std::string& call, bool input, const aclmdlDesc* description, size_t index,
                  aclmdlIODims* dims) {
  if (Fails(call) || !Described(description, index)) return kFailure;
  std::vector<int64_t> shape = setup.input_shape;
  if (!input) shape.erase(shape.begin() + 1);
  if (setup.open_dimension_bytes == 0) shape.back() = -1;
  dims->dimCount = shape.size();
  std::memcpy(dims->dims, shape.data(), shape.size() * sizeof(int64_t));
  return ACL_SUCCESS;
}

}  // namespace

acl_fake::Setup& acl_fake::TheSetup() { return setup; }

aclError aclInit(const char*) {
  if (Fails("aclInit") || !Expect(!AnyLive("runtime"), "aclInit twice")) return kFailure;
  Acquire(&kRuntime, "runtime");
  return ACL_SUCCESS;
}

aclError aclFinalize() {
  Expect(!AnyLive("device"), "aclFinalize before aclrtResetDevice");
  return Release(&kRuntime, "runtime") ? ACL_SUCCESS : kFailure;
}

const char* aclGetRecentErrMsg() { return "E19999:\n  told by\tthe fake"; }

aclError aclrtGetDeviceCount(uint32_t* count) {
  if (Fails("aclrtGetDeviceCount")) return kFailure;
  *count = setup.devices;
  return ACL_SUCCESS;
}

aclError aclrtSetDevice(int32_t id) {
  if (Fails("aclrtSetDevice") || !Expect(AnyLive("runtime"), "aclrtSetDevice needs aclInit before")) return kFailure;
  if (id < 0 || static_cast<uint32_t>(id) >= setup.devices) return kFailure;
  device_threads = {std::this_thread::get_id()};
  Acquire(&kDevice, "device");
  return ACL_SUCCESS;
}

aclError aclrtResetDevice(int32_t) {
  for (const char* kind : {"model", "device memory", "page-locked memory", "stream"}) {
    Expect(!AnyLive(kind), std::string("aclrtResetDevice before the release of a ") + kind);
  }
  return Release(&kDevice, "device") ? ACL_SUCCESS : kFailure;
}

aclError aclrtGetRunMode(aclrtRunMode* mode) {
  if (Fails("aclrtGetRunMode") || !DeviceIsOpen("aclrtGetRunMode")) return kFailure;
  *mode = setup.program_runs_on_device ? ACL_DEVICE : ACL_HOST;
  return ACL_SUCCESS;
}

aclError aclrtMalloc(void** memory, size_t size, aclrtMemMallocPolicy) {
  if (Fails("aclrtMalloc") || !DeviceIsOpen("aclrtMalloc")) return kFailure;
  if (!Expect(size > 0, "aclrtMalloc of 0 bytes")) return kFailure;
  *memory = std::malloc(size);
  Acquire(*memory, "device memory");
  return ACL_SUCCESS;
}

aclError aclrtFree(void* memory) {
  if (!Release(memory, "device memory")) return kFailure;
  std::free(memory);
  return ACL_SUCCESS;
}

aclError aclrtMallocHost(void** memory, size_t size) {
  if (Fails("aclrtMallocHost") || !DeviceIsOpen("aclrtMallocHost")) return kFailure;
  *memory = std::malloc(size);
  Acquire(*memory, "page-locked memory");
  return ACL_SUCCESS;
}

aclError aclrtFreeHost(void* memory) {
  if (!Release(memory, "page-locked memory")) return kFailure;
  std::free(memory);
  return ACL_SUCCESS;
}

aclError aclrtGetCurrentContext(aclrtContext* current) {
  if (Fails("aclrtGetCurrentContext") || !DeviceIsOpen("aclrtGetCurrentContext")) return kFailure;
  *current = &context;
  return ACL_SUCCESS;
}

aclError aclrtSetCurrentContext(aclrtContext current) {
  if (Fails("aclrtSetCurrentContext")) return kFailure;
  if (!Expect(current == &context && IsLive(&kDevice, "device"), "aclrtSetCurrentContext of nothing")) return kFailure;
  const auto lock = ledger::Lock();
  device_threads.insert(std::this_thread::get_id());
  return ACL_SUCCESS;
}

aclError aclrtCreateStream(aclrtStream* stream) {
  if (Fails("aclrtCreateStream") || !DeviceIsOpen("aclrtCreateStream")) return kFailure;
  *stream = new FakeStream;
  Acquire(*stream, "stream");
  return ACL_SUCCESS;
}

aclError aclrtDestroyStream(aclrtStream stream) {
  if (!Release(stream, "stream")) return kFailure;
  Expect(static_cast<FakeStream*>(stream)->work.empty(), "aclrtDestroyStream of a stream with work");
  delete static_cast<FakeStream*>(stream);
  return ACL_SUCCESS;
}

// Does what waits even if the call is to fail: the device goes on working whatever the host hears of it.
aclError aclrtSynchronizeStream(aclrtStream handle) {
  const bool fails = Fails("aclrtSynchronizeStream");
  if (!DeviceIsOpen("aclrtSynchronizeStream") || !Expect(IsLive(handle, "stream"), "no such stream")) return kFailure;
  auto* stream = static_cast<FakeStream*>(handle);
  for (const auto& work : stream->work) work();
  stream->work.clear();
  const auto lock = ledger::Lock();
  if (stream->runs_model) model_is_running = stream->runs_model = false;
  return fails ? kFailure : ACL_SUCCESS;
}

aclError aclrtMemcpyAsync(void* to, size_t room, const void* from, size_t count, aclrtMemcpyKind kind,
                          aclrtStream stream) {
  if (Fails("aclrtMemcpyAsync") || !DeviceIsOpen("aclrtMemcpyAsync")) return kFailure;
  const bool to_device = IsLive(to, "device memory"), from_device = IsLive(from, "device memory");
  const aclrtMemcpyKind right = setup.program_runs_on_device ? ACL_MEMCPY_DEVICE_TO_DEVICE
                                : to_device                  ? ACL_MEMCPY_HOST_TO_DEVICE
                                                             : ACL_MEMCPY_DEVICE_TO_HOST;
  if (!Expect(count <= room, "aclrtMemcpyAsync over the end") || !Expect(IsLive(stream, "stream"), "no such stream") ||
      !Expect(to_device != from_device && kind == right, "aclrtMemcpyAsync of the wrong kind") ||
      !Expect(IsLive(to_device ? from : to, "page-locked memory"), "aclrtMemcpyAsync needs page-locked memory")) {
    return kFailure;
  }
  static_cast<FakeStream*>(stream)->work.push_back([=] { std::memcpy(to, from, count); });
  return ACL_SUCCESS;
}

aclError aclmdlLoadFromFile(const char* path, uint32_t* id) {
  if (Fails("aclmdlLoadFromFile") || !DeviceIsOpen("aclmdlLoadFromFile")) return kFailure;
  char magic[2] = {};
  std::ifstream(path, std::ios::binary).read(magic, 2);
  if (magic[0] != 'O' || magic[1] != 'M') return kFailure;
  *id = kModelId;
  Acquire(&kModel, "model");
  return ACL_SUCCESS;
}

aclError aclmdlUnload(uint32_t id) {
  DeviceIsOpen("aclmdlUnload");
  Expect(id == kModelId, "aclmdlUnload of an unknown model");
  return Release(&kModel, "model") ? ACL_SUCCESS : kFailure;
}

aclError aclmdlExecuteAsync(uint32_t id, const aclmdlDataset* input, aclmdlDataset* output, aclrtStream handle) {
  if (Fails("aclmdlExecuteAsync") || !DeviceIsOpen("aclmdlExecuteAsync")) return kFailure;
  const auto lock = ledger::Lock();
  if (!Expect(AnyLive("model") && id == kModelId, "aclmdlExecuteAsync of a model that is not loaded") ||
      !Expect(!model_is_running, "aclmdlExecuteAsync of a model that is still running") ||
      !Expect(IsLive(handle, "stream"), "no such stream") || !IsDeviceMemory(input, Bytes(true)) ||
      !IsDeviceMemory(output, Bytes(false))) {
    return kFailure;
  }
  const void* scores = input->buffers[0]->data;
  void* classes = output->buffers[0]->data;
  auto* stream = static_cast<FakeStream*>(handle);
  stream->work.push_back(
      [=] { Argmax(static_cast<const float*>(scores), setup.input_shape, static_cast<uint8_t*>(classes)); });
  stream->runs_model = model_is_running = true;
  return ACL_SUCCESS;
}

aclmdlDesc* aclmdlCreateDesc() {
  if (Fails("aclmdlCreateDesc")) return nullptr;
  auto* description = new aclmdlDesc;
  Acquire(description, "description");
  return description;
}

aclError aclmdlDestroyDesc(aclmdlDesc* description) {
  if (!Release(description, "description")) return kFailure;
  delete description;
  return ACL_SUCCESS;
}

aclError aclmdlGetDesc(aclmdlDesc* description, uint32_t id) {
  if (Fails("aclmdlGetDesc")) return kFailure;
  if (!Expect(IsLive(description, "description") && AnyLive("model") && id == kModelId, "aclmdlGetDesc of nothing")) {
    return kFailure;
  }
  description->filled = true;
  return ACL_SUCCESS;
}

size_t aclmdlGetNumInputs(aclmdlDesc* description) { return Described(description, 0) ? 1 : 0; }
size_t aclmdlGetNumOutputs(aclmdlDesc* description) { return Described(description, 0) ? 1 : 0; }
size_t aclmdlGetInputSizeByIndex(aclmdlDesc* description, size_t index) {
  return Described(description, index) ? Bytes(true) : 0;
}
size_t aclmdlGetOutputSizeByIndex(aclmdlDesc* description, size_t index) {
  return Described(description, index) ? Bytes(false) : 0;
}
const char* aclmdlGetInputNameByIndex(const aclmdlDesc* description, size_t index) {
  return Described(description, index) ? "scores" : "";
}
const char* aclmdlGetOutputNameByIndex(const aclmdlDesc* description, size_t index) {
  return Described(description, index) ? "classes" : "";
}
aclDataType aclmdlGetInputDataType(const aclmdlDesc* description, size_t index) {
  return Described(description, index) ? ACL_FLOAT : ACL_DT_UNDEFINED;
}
aclDataType aclmdlGetOutputDataType(const aclmdlDesc* description, size_t index) {
  return Described(description, index) ? ACL_UINT8 : ACL_DT_UNDEFINED;
}
aclError aclmdlGetInputDims(const aclmdlDesc* description, size_t index, aclmdlIODims* dims) {
  return FillDims("aclmdlGetInputDims", true, description, index, dims);
}
aclError aclmdlGetOutputDims(const aclmdlDesc* description, size_t index, aclmdlIODims* dims) {
  return FillDims("aclmdlGetOutputDims", false, description, index, dims);
}

aclmdlDataset* aclmdlCreateDataset() {
  if (Fails("aclmdlCreateDataset")) return nullptr;
  auto* dataset = new aclmdlDataset;
  Acquire(dataset, "dataset");
  return dataset;
}

// As documented, what is in the dataset stays the caller's.
aclError aclmdlDestroyDataset(const aclmdlDataset* dataset) {
  if (!Release(dataset, "dataset")) return kFailure;
  delete dataset;
  return ACL_SUCCESS;
}

aclError aclmdlAddDatasetBuffer(aclmdlDataset* dataset, aclDataBuffer* buffer) {
  if (Fails("aclmdlAddDatasetBuffer")) return kFailure;
  if (!Expect(IsLive(dataset, "dataset") && IsLive(buffer, "data buffer"), "buffer added to no dataset")) {
    return kFailure;
  }
  dataset->buffers.push_back(buffer);
  return ACL_SUCCESS;
}

aclDataBuffer* aclCreateDataBuffer(void* data, size_t size) {
  if (Fails("aclCreateDataBuffer")) return nullptr;
  auto* buffer = new aclDataBuffer{data, size};
  Acquire(buffer, "data buffer");
  return buffer;
}

// As documented, the memory behind the buffer stays the caller's.
aclError aclDestroyDataBuffer(const aclDataBuffer* buffer) {
  if (!Release(buffer, "data buffer")) return kFailure;
  delete buffer;
  return ACL_SUCCESS;
}
