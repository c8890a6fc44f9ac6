// The factory of a build without any runtime: what it says before it would load something.
#include "check.h"
#include "engine.h"
#include "temporary_folder.h"

namespace {

using infer::Device;
using infer::kFailed;
using infer::kUsage;

void Load(const std::string& path, infer::Device device) {
  infer::EngineOptions options;
  options.model_path = path;
  options.device = device;
  infer::LoadEngine(options);
}

TEST(UnknownSuffixIsAUsageError) {
  for (const std::string path : {"net.ckpt", "net", "net.onnx.json", ".onnx"}) {
    CHECK_ERROR(Load(path, Device::kAuto), kUsage,
                "--model_path expects a .mindir, .ms, .om, .onnx or .xml file, found \"" + path + "\"");
  }
}

TEST(DeviceMustSuitTheModel) {
  const std::string advice = "; on Ascend give a .om or .mindir model, on the CPU a .onnx or .mindir model";
  CHECK_ERROR(Load("net.om", Device::kCpu), kUsage,
              "AscendCL, which runs this kind of model, has no device CPU" + advice);
  CHECK_ERROR(Load("net.onnx", Device::kAscend), kUsage,
              "OpenVINO, which runs this kind of model, has no device Ascend" + advice);
}

TEST(MissingModelIsNamed) {
  CHECK_ERROR(Load("missing.mindir", Device::kAuto), kFailed, "no model file missing.mindir");
}

TEST(RuntimeThatIsNotBuiltIsNamed) {
  const TemporaryFolder folder;
  const std::string mindir = folder.Write("net.mindir", ""), om = folder.Write("net.om", ""),
                    xml = folder.Write("net.xml", "");
  const std::string end = "; a CPU runs the model as ONNX: python export.py --from_mindir";
  CHECK_ERROR(Load(mindir, Device::kAuto), kFailed,
              mindir + " needs MindSpore Lite, which is not in this build: bash build.sh -DRUNTIME=lite" + end);
  CHECK_ERROR(Load(om, Device::kAuto), kFailed,
              om + " needs AscendCL, which is not in this build: bash build.sh -DRUNTIME=acl" + end);
  CHECK_ERROR(Load(xml, Device::kCpu), kFailed,
              xml + " needs OpenVINO, which is not in this build: bash build.sh -DRUNTIME=openvino");
}

}  // namespace
