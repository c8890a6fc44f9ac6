#ifndef ASCEND310_INFER_TEST_ENGINE_CONTRACT_H_
#define ASCEND310_INFER_TEST_ENGINE_CONTRACT_H_

// What the engines that run against a fake have in common.

#include <algorithm>
#include <string>
#include <vector>

#include "bin_task.h"
#include "check.h"
#include "dataset.h"
#include "engine.h"
#include "fakes/ledger.h"
#include "pipeline.h"
#include "temporary_folder.h"

// Scores (2 images, 3 classes, 4 pixels) whose highest classes are 0 1 2 0 and 2 2 1 0; and one image more.
inline const std::vector<float> kScores = {9,  0,  0,  5,  1,  8,  0,  5,  2,  3,  7,  5,
                                           -3, -3, -3, -1, -2, -2, -1, -2, -1, -1, -2, -3};
inline const std::string kClasses0("\0\1\2\0", 4), kClasses1("\2\2\1\0", 4);

// Of the model that each fake holds.
inline void CheckDescriptions(const infer::Engine& engine, const std::string& description) {
  CHECK_EQUAL(engine.Description(), description);
  CHECK_EQUAL(engine.Inputs().size(), size_t{1});
  CHECK_EQUAL(engine.Inputs()[0].name, "scores");
  CHECK_EQUAL(infer::Describe(engine.Inputs()[0]), "float32 [2, 3, 4]");
  CHECK_EQUAL(engine.Inputs()[0].bytes, size_t{96});
  CHECK_EQUAL(engine.Outputs().size(), size_t{1});
  CHECK_EQUAL(infer::Describe(engine.Outputs()[0]), "uint8 [2, 4]");
  CHECK_EQUAL(engine.Outputs()[0].bytes, size_t{8});
}

// Loads, runs twice and lets go of everything.
inline void LoadAndRun(const infer::EngineOptions& options) {
  const auto engine = infer::LoadEngine(options);
  const infer::HostMemory input = engine->Allocate(96), output = engine->Allocate(8);
  auto* scores = static_cast<float*>(input.get());
  const auto* classes = static_cast<const char*>(output.get());
  const auto request = engine->NewRequest();
  std::copy(kScores.begin(), kScores.end(), scores);
  request->Run({{scores, 96}}, {{output.get(), 8}});
  CHECK(std::string(classes, 8) == kClasses0 + kClasses1);
  scores[0] = -1;  // now class 2 is the highest of the first pixel
  request->Run({{scores, 96}}, {{output.get(), 8}});
  CHECK(std::string(classes, 8) == std::string("\2\1\2\0", 4) + kClasses1);
}

// Makes each call that may fail do so in turn: always an Error of exit code 1, nothing held, no rule broken.
inline void CheckEachFailure(const infer::EngineOptions& options, int at_least) {
  int fail_call = 1;
  for (;; ++fail_call) {
    ledger::Reset(fail_call);
    try {
      LoadAndRun(options);
    } catch (const infer::Error& error) {
      CHECK(!ledger::TheLedger().failed.empty());
      CHECK_EQUAL(static_cast<int>(error.exit_code()), static_cast<int>(infer::kFailed));
    }
    CHECK_EQUAL(ledger::Problems(), "");
    if (ledger::TheLedger().failed.empty()) break;  // there was no call of that number
  }
  CHECK(fail_call > at_least);
}

// Three images through the whole pipeline: a full batch and one that is half full.
inline void CheckPipeline(const infer::EngineOptions& options) {
  ledger::Reset();
  const TemporaryFolder data, results;
  const auto* bytes = reinterpret_cast<const char*>(kScores.data());
  data.Write("a_img.bin", std::string(bytes, 48));
  data.Write("b_img.bin", std::string(bytes + 48, 48));
  data.Write("c_img.bin", std::string(bytes, 48));
  {
    const auto engine = infer::LoadEngine(options);
    infer::BinTask task(results.path());
    infer::PipelineOptions options_of_pipeline;
    options_of_pipeline.warmup = 2;
    const auto result =
        infer::RunPipeline(engine.get(), infer::FindInputs(data.path(), {}).inputs, &task, options_of_pipeline);
    CHECK_EQUAL(result.timing.images, size_t{3});
    CHECK_EQUAL(result.timing.run_ms.size(), size_t{2});
  }
  CHECK_EQUAL(results.List(), "a_img_0.bin b_img_0.bin c_img_0.bin ");
  CHECK(ReadText(results / "a_img_0.bin") == kClasses0);
  CHECK(ReadText(results / "b_img_0.bin") == kClasses1);
  CHECK(ReadText(results / "c_img_0.bin") == kClasses0);
  CHECK_EQUAL(ledger::Problems(), "");
}

#endif  // ASCEND310_INFER_TEST_ENGINE_CONTRACT_H_
