#include "engine_contract.h"
#include "fakes/mindspore_lite_fake.h"

namespace {

using infer::kFailed;
using infer::LoadEngine;

struct Fixture {
  Fixture() {
    lite_fake::TheSetup() = lite_fake::Setup();
    ledger::Reset();
    options.model_path = folder.Write("net.mindir", "MINDIR of the fake");
    options.device = infer::Device::kAscend;
  }
  const TemporaryFolder folder;
  infer::EngineOptions options;
};

TEST(LiteDescribesTheModel) {
  Fixture fixture;
  fixture.options.device_id = 1;
  CheckDescriptions(*LoadEngine(fixture.options), "MindSpore Lite, Ascend 1");
}

TEST(LiteIsAskedForTheDevice) {
  Fixture fixture;
  infer::EngineOptions& options = fixture.options;
  LoadEngine(options);
  CHECK_EQUAL(lite_fake::LastBuild(), "Ascend 0, MindIR, 0");
  options.device_id = 1;
  options.precision = infer::Precision::kFloat32;
  options.fusion_switch_path = fixture.folder.Write("fusion.cfg", "");
  LoadEngine(options);
  CHECK_EQUAL(lite_fake::LastBuild(),
              "Ascend 1, precision enforce_fp32, fusion " + options.fusion_switch_path + ", MindIR, 0");
  options.device = infer::Device::kCpu;
  options.fusion_switch_path.clear();
  options.threads = 4;
  LoadEngine(options);
  CHECK_EQUAL(lite_fake::LastBuild(), "CPU, MindIR, 4");
  options.precision = infer::Precision::kFast;
  options.model_path = fixture.folder.Write("net.ms", "MINDIR of the fake");
  LoadEngine(options);
  CHECK_EQUAL(lite_fake::LastBuild(), "CPU, fp16, MindIR_Lite, 4");
}

TEST(LiteRunsAndReleasesEverything) {
  const Fixture fixture;
  LoadAndRun(fixture.options);
  CHECK_EQUAL(ledger::Problems(), "");
}

TEST(LitePipeline) { CheckPipeline(Fixture().options); }

TEST(LiteSurvivesEachFailure) {
  const Fixture fixture;
  CheckEachFailure(fixture.options, 3);
}

TEST(LiteModelThatDoesNotLoadIsNamedInOneLine) {
  const Fixture fixture;
  ledger::Reset(1);
  CHECK_ERROR(LoadEngine(fixture.options), kFailed,
              "MindSpore Lite cannot load " + fixture.options.model_path + " on Ascend: told by the fake");
  CHECK_EQUAL(ledger::Problems(), "");
}

TEST(LiteOpenShapeIsNamed) {
  const Fixture fixture;
  lite_fake::TheSetup().input_shape = {2, 3, -1};
  const auto engine = LoadEngine(fixture.options);
  CHECK_ERROR(infer::LayoutOf(*engine), kFailed,
              "the model does not fit this program: input \"scores\" is float32 [2, 3, -1]; export it with a fixed "
              "batch, height and width");
}

TEST(LiteOpenShapeIsClosed) {
  Fixture fixture;
  lite_fake::TheSetup().input_shape = {-1, 3, 4};
  fixture.options.input_shape = {2, 9, 9};  // only for what is open
  LoadAndRun(fixture.options);
  CHECK_EQUAL(ledger::Problems(), "");
}

TEST(LiteUnknownTypeIsNamed) {
  const Fixture fixture;
  lite_fake::TheSetup().input_type = 12;
  CHECK_ERROR(LoadEngine(fixture.options), kFailed,
              "tensor \"scores\" has an element type that this program does not know: MindSpore's 12");
  CHECK_EQUAL(ledger::Problems(), "");
}

TEST(LiteOutputsAreChecked) {
  const Fixture fixture;
  lite_fake::TheSetup().bytes_lost = 3;
  CHECK_ERROR(LoadAndRun(fixture.options), kFailed,
              "MindSpore Lite returned 5 bytes of output \"classes\", expected 8");
  lite_fake::TheSetup().outputs_lost = 1;
  CHECK_ERROR(LoadAndRun(fixture.options), kFailed, "MindSpore Lite returned 0 outputs, expected 1");
  CHECK_EQUAL(ledger::Problems(), "");
}

}  // namespace
