#include "engine_contract.h"
#include "fakes/acl_fake.h"

namespace {

using infer::kFailed;
using infer::LoadEngine;

struct Fixture {
  Fixture() {
    acl_fake::TheSetup() = acl_fake::Setup();
    ledger::Reset();
    options.model_path = folder.Write("net.om", "OM of the fake");
  }
  const TemporaryFolder folder;
  infer::EngineOptions options;
};

TEST(AclDescribesTheModel) {
  const Fixture fixture;
  CheckDescriptions(*LoadEngine(fixture.options), "AscendCL, Ascend 0");
}

TEST(AclRunsAndReleasesEverything) {
  const Fixture fixture;
  LoadAndRun(fixture.options);
  CHECK_EQUAL(ledger::Problems(), "");
}

TEST(AclRunsOnTheDeviceItself) {
  const Fixture fixture;
  acl_fake::TheSetup().program_runs_on_device = true;
  LoadAndRun(fixture.options);
  CHECK_EQUAL(ledger::Problems(), "");
}

TEST(AclPipelineAtEveryNumberOfRequests) {
  Fixture fixture;
  for (int requests : {0, 1, 3}) {
    fixture.options.requests = requests;
    CheckPipeline(fixture.options);
  }
}

TEST(AclBuffersOfAnotherSizeAreRefused) {
  const Fixture fixture;
  {
    const auto engine = LoadEngine(fixture.options);
    char small[8];
    CHECK_ERROR(engine->NewRequest()->Run({{small, 8}}, {{small, 8}}), kFailed,
                "tensor \"scores\" needs 96 bytes, found a buffer of 8");
  }
  CHECK_EQUAL(ledger::Problems(), "");
}

TEST(AclSurvivesEachFailure) {
  const Fixture fixture;
  CheckEachFailure(fixture.options, 30);
}

TEST(AclMissingDeviceIsNamed) {
  Fixture fixture;
  fixture.options.device_id = 3;
  CHECK_ERROR(LoadEngine(fixture.options), kFailed,
              "no Ascend device 3: this machine has 1, counted from 0; see npu-smi info");
  CHECK_EQUAL(ledger::Problems(), "");
}

TEST(AclModelThatDoesNotLoadIsNamedInOneLine) {
  const Fixture fixture;
  fixture.folder.Write("net.om", "no model");
  CHECK_ERROR(LoadEngine(fixture.options), kFailed,
              "AscendCL cannot load " + fixture.options.model_path + ": error 500001 E19999: told by the fake");
  CHECK_EQUAL(ledger::Problems(), "");
}

TEST(AclOpenShapeIsNamed) {
  const Fixture fixture;
  acl_fake::TheSetup().open_dimension_bytes = 0;
  CHECK_ERROR(LoadEngine(fixture.options)->NewRequest(), kFailed, "\"scores\" has no fixed shape; give atc one");
  CHECK_EQUAL(ledger::Problems(), "");
}

}  // namespace
