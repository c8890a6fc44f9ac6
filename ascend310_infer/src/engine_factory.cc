#include <cstdio>
#include <filesystem>

#include "engine.h"
#include "error.h"

namespace infer {
namespace {

using Load = std::unique_ptr<Engine> (*)(const EngineOptions&);

struct Runtime {
  const char* name;
  const char* cmake_name;
  Load load;  // nullptr: not in this build
  bool ascend;
  bool cpu;
};

#ifdef WITH_LITE
constexpr Runtime kLite{"MindSpore Lite", "lite", &LoadMindSporeLite, true, true};
#else
constexpr Runtime kLite{"MindSpore Lite", "lite", nullptr, true, true};
#endif
#ifdef WITH_ACL
constexpr Runtime kAscendCL{"AscendCL", "acl", &LoadAscendCL, true, false};
#else
constexpr Runtime kAscendCL{"AscendCL", "acl", nullptr, true, false};
#endif
#ifdef WITH_OPENVINO
constexpr Runtime kOpenVINO{"OpenVINO", "openvino", &LoadOpenVINO, false, true};
#else
constexpr Runtime kOpenVINO{"OpenVINO", "openvino", nullptr, false, true};
#endif

const Runtime& RuntimeOf(const std::string& model_path) {
  const std::string suffix = std::filesystem::path(model_path).extension().string();
  if (suffix == ".mindir" || suffix == ".ms") return kLite;
  if (suffix == ".om") return kAscendCL;
  if (suffix == ".onnx" || suffix == ".xml") return kOpenVINO;
  throw Error(kUsage, "--model_path expects a .mindir, .ms, .om, .onnx or .xml file, found \"" + model_path + "\"");
}

// The node that the Ascend driver makes, in containers too.
bool AscendDriverIsThere() { return std::filesystem::exists("/dev/davinci_manager"); }

Device DeviceFor(const Runtime& runtime, Device asked) {
  if (asked == Device::kAuto) {
    return runtime.ascend && (!runtime.cpu || AscendDriverIsThere()) ? Device::kAscend : Device::kCpu;
  }
  if (asked == Device::kAscend ? runtime.ascend : runtime.cpu) return asked;
  throw Error(kUsage, std::string(runtime.name) + ", which runs this kind of model, has no device " + NameOf(asked) +
                          "; on Ascend give a .om or .mindir model, on the CPU a .onnx or .mindir model");
}

}  // namespace

std::unique_ptr<Engine> LoadEngine(const EngineOptions& options) {
  const Runtime& runtime = RuntimeOf(options.model_path);
  EngineOptions resolved = options;
  resolved.device = DeviceFor(runtime, options.device);
  if (!std::filesystem::is_regular_file(options.model_path)) {
    throw Error(kFailed, "no model file " + options.model_path);
  }
  if (runtime.load == nullptr) {
    throw Error(kFailed, options.model_path + " needs " + runtime.name +
                             ", which is not in this build: bash build.sh -DRUNTIME=" + runtime.cmake_name +
                             (runtime.ascend ? "; a CPU runs the model as ONNX: python export.py --from_mindir" : ""));
  }
  if (!options.fusion_switch_path.empty() && (&runtime != &kLite || resolved.device != Device::kAscend)) {
    std::fputs("note: --fusion_switch_path has a meaning for MindSpore Lite on Ascend only\n", stderr);
  }
  std::unique_ptr<Engine> engine = runtime.load(resolved);
  if (options.requests > 0 && engine->Requests() < static_cast<size_t>(options.requests)) {
    std::fprintf(stderr, "note: --requests: %s computes %zu at a time\n", runtime.name, engine->Requests());
  }
  return engine;
}

}  // namespace infer
