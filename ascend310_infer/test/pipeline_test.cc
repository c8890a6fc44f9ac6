#include "pipeline.h"

#include <chrono>
#include <thread>

#include "bin_task.h"
#include "check.h"
#include "dataset.h"
#include "fake_engine.h"
#include "temporary_folder.h"

namespace fs = std::filesystem;

namespace {

using infer::BinResultName;
using infer::kFailed;
using infer::LayoutOf;

// One thread for each stage, so that the order is known, unless the test asks for more.
infer::PipelineResult RunPipeline(infer::Engine* engine, const std::vector<fs::path>& inputs, const fs::path& results,
                                  const infer::PipelineOptions& options = {}) {
  infer::BinTask task(results);
  return infer::RunPipeline(engine, inputs, &task, options);
}

// Input number i is the bytes {i, 1}: the fake engine then gives {i + 1, i + 2, i + 3}.
std::vector<fs::path> WriteInputs(const TemporaryFolder& folder, int count) {
  for (int i = 0; i < count; ++i) {
    const std::string number = std::to_string(1000 + i).substr(1);
    folder.Write(number + "_img.bin", {static_cast<char>(i), 1});
  }
  return infer::FindInputs(folder.path(), {}).inputs;
}

void CheckResult(const TemporaryFolder& results, const fs::path& input, int i) {
  const std::string expected = {static_cast<char>(i + 1), static_cast<char>(i + 2), static_cast<char>(i + 3)};
  CHECK(ReadText(results / BinResultName(input, 0)) == expected);
}

size_t CountFiles(const TemporaryFolder& folder) {
  return static_cast<size_t>(std::distance(fs::directory_iterator(folder.path()), fs::directory_iterator()));
}

TEST(EveryImageGetsItsOwnResultAtEveryBatchSize) {
  for (int batch : {1, 2, 3, 8}) {
    for (int count : {1, 2, 7, 24}) {
      const TemporaryFolder data, results;
      const auto inputs = WriteInputs(data, count);
      FakeEngine engine(batch, 2, 3);
      const infer::PipelineResult result = RunPipeline(&engine, inputs, results.path());
      for (int i = 0; i < count; ++i) CheckResult(results, inputs[i], i);
      CHECK_EQUAL(CountFiles(results), static_cast<size_t>(count));
      CHECK_EQUAL(result.timing.images, static_cast<size_t>(count));
      CHECK_EQUAL(result.timing.batch, static_cast<size_t>(batch));
      CHECK_EQUAL(result.timing.run_ms.size(), static_cast<size_t>((count + batch - 1) / batch));
      CHECK_EQUAL(result.timing.run_ms.size(), static_cast<size_t>(engine.runs));
      CHECK(result.timing.seconds_with_io > 0);
      CHECK(result.bad_inputs.empty());
    }
  }
}

TEST(LastBatchIsPaddedWithZeros) {
  const TemporaryFolder data, results;
  const auto inputs = WriteInputs(data, 41);  // so many that the last batch comes in a buffer used before
  FakeEngine engine(2, 2, 3);
  RunPipeline(&engine, inputs, results.path());
  CHECK_EQUAL(engine.sums.size(), size_t{42});
  for (unsigned i = 0; i < 42; ++i) CHECK_EQUAL(engine.sums[i], i < 41 ? i + 1 : 0);
}

TEST(EveryOutputIsWritten) {
  const TemporaryFolder data, results;
  const auto inputs = WriteInputs(data, 3);
  FakeEngine engine(2, 2, 3);
  engine.outputs.push_back({"z", {2, 1}, infer::ElementType::kUint8, 2});
  RunPipeline(&engine, inputs, results.path());
  CHECK_EQUAL(results.List(), "000_img_0.bin 000_img_1.bin 001_img_0.bin 001_img_1.bin 002_img_0.bin 002_img_1.bin ");
  CHECK(ReadText(results / "002_img_0.bin") == "\3\4\5");
  CHECK(ReadText(results / "002_img_1.bin") == "\3");
}

TEST(BadInputsAreNotedAndTheOthersDone) {
  for (int batch : {1, 4}) {
    const TemporaryFolder data, results;
    WriteInputs(data, 9);
    data.Write("000_img.bin", "x");
    data.Write("005_img.bin", "too long");
    fs::remove(data / "008_img.bin");
    fs::create_directory(data / "008_img.bin");
    const auto inputs = infer::FindInputs(data.path(), {}).inputs;
    FakeEngine engine(batch, 2, 3);
    const infer::PipelineResult result = RunPipeline(&engine, inputs, results.path());
    CHECK_EQUAL(result.bad_inputs.size(), size_t{3});
    CHECK_EQUAL(result.bad_inputs[0], inputs[0].string() +
                                          ": expected 2 bytes, found 1; was it preprocessed for this "
                                          "model's input size and type?");
    CHECK_EQUAL(result.bad_inputs[1], inputs[5].string() +
                                          ": expected 2 bytes, found 8; was it preprocessed for this "
                                          "model's input size and type?");
    CHECK_EQUAL(result.bad_inputs[2], inputs[8].string() + ": is not a regular file");
    CHECK_EQUAL(result.timing.images, size_t{6});
    CHECK_EQUAL(CountFiles(results), size_t{6});
    for (int i : {1, 2, 3, 4, 6, 7}) CheckResult(results, inputs[i], i);
  }
}

// As an image without a label does, whose results are written all the same.
TEST(WhatCannotBeScoredCountsAsDone) {
  class UnscoredTask : public infer::BinTask {
   public:
    using BinTask::BinTask;
    void Finish(infer::Sample* sample, const std::vector<infer::ConstTensorView>& outputs) override {
      BinTask::Finish(sample, outputs);
      throw infer::Error(infer::kBadInput, "no label");
    }
  };
  const TemporaryFolder data, results;
  const auto inputs = WriteInputs(data, 3);
  FakeEngine engine(2, 2, 3);
  UnscoredTask task(results.path());
  const infer::PipelineResult result = infer::RunPipeline(&engine, inputs, &task, {});
  CHECK(result.bad_inputs == std::vector<std::string>(3, "no label"));
  CHECK_EQUAL(result.timing.images, size_t{3});
  for (const infer::StageTimes& times : result.timing.stages) {
    CHECK(times[static_cast<size_t>(infer::Stage::kWrite)] > 0);
  }
  CHECK_EQUAL(CountFiles(results), size_t{3});
}

TEST(OnlyBadInputsRunNothing) {
  const TemporaryFolder data, results;
  data.Write("a_img.bin", "");
  FakeEngine engine(4, 2, 3);
  const infer::PipelineResult result = RunPipeline(&engine, infer::FindInputs(data.path(), {}).inputs, results.path());
  CHECK_EQUAL(result.bad_inputs.size(), size_t{1});
  CHECK_EQUAL(result.timing.images, size_t{0});
  CHECK_EQUAL(engine.runs, 0);
}

TEST(EngineFailureEndsEverythingAndKeepsWhatWasDone) {
  for (int fail_at : {1, 2, 5, 11, 30}) {
    const TemporaryFolder data, results;
    const auto inputs = WriteInputs(data, 30);
    FakeEngine engine(1, 2, 3, fail_at);
    CHECK_ERROR(RunPipeline(&engine, inputs, results.path()), kFailed, "fake failure");
    CHECK_EQUAL(engine.runs, fail_at);
    CHECK_EQUAL(CountFiles(results), static_cast<size_t>(fail_at - 1));
    for (int i = 0; i < fail_at - 1; ++i) CheckResult(results, inputs[i], i);
  }
}

TEST(WriterFailureEndsEverything) {
  for (int blocked : {0, 3, 29}) {
    const TemporaryFolder data, results;
    const auto inputs = WriteInputs(data, 30);
    const fs::path in_the_way = results / BinResultName(inputs[blocked], 0);
    fs::create_directory(in_the_way);
    FakeEngine engine(1, 2, 3);
    CHECK_ERROR(RunPipeline(&engine, inputs, results.path()), kFailed,
                "cannot write " + in_the_way.string() + ": Is a directory");
    CHECK_EQUAL(CountFiles(results), static_cast<size_t>(blocked + 1));  // no result after it, no temporary file
  }
}

// An engine that is slow, so that the reader is always ahead, and one that is fast, so that it always waits.
TEST(StagesOfDifferentSpeedLoseNothing) {
  class SlowEngine : public FakeEngine {
   public:
    using FakeEngine::FakeEngine;
    void Run(const std::vector<infer::ConstTensorView>& in, const std::vector<infer::TensorView>& out) override {
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
      FakeEngine::Run(in, out);
    }
  };
  const TemporaryFolder data, results;
  const auto inputs = WriteInputs(data, 40);
  SlowEngine engine(3, 2, 3);
  const infer::PipelineResult result = RunPipeline(&engine, inputs, results.path());
  for (int i = 0; i < 40; ++i) CheckResult(results, inputs[i], i);
  for (double milliseconds : result.timing.run_ms) CHECK(milliseconds >= 2);
}

// Several readers, requests and writers: each image still gets its own result, and the batches are still full.
TEST(ManyThreadsLoseNothing) {
  for (int batch : {1, 3}) {
    const TemporaryFolder data, results;
    auto inputs = WriteInputs(data, 100);
    data.Write("007_img.bin", "bad");
    data.Write("055_img.bin", "bad");
    FakeEngine engine(batch, 2, 3);
    engine.requests = 3;
    infer::PipelineOptions options;
    options.readers = options.writers = 3;
    options.warmup = 2;
    const infer::PipelineResult result = RunPipeline(&engine, inputs, results.path(), options);
    for (int i = 0; i < 100; ++i) {
      if (i != 7 && i != 55) CheckResult(results, inputs[i], i);
    }
    CHECK_EQUAL(result.timing.images, size_t{98});
    CHECK_EQUAL(result.timing.requests, size_t{3});
    CHECK_EQUAL(result.timing.stages.size(), size_t{98});
    CHECK_EQUAL(engine.runs, static_cast<int>(result.timing.run_ms.size()) + 6);
    CHECK(result.timing.run_ms.size() <= static_cast<size_t>((98 + batch - 1) / batch + 2));
    CHECK(result.timing.inference_seconds > 0 && result.timing.inference_seconds <= result.timing.seconds_with_io);
    CHECK_EQUAL(result.bad_inputs.size(), size_t{2});
    CHECK(result.bad_inputs[0].find("007_img.bin") != std::string::npos);
  }
}

// Host memory for a batch with logits can be hundreds of megabytes.
TEST(MemoryIsForWhatThereIsToDo) {
  class CountingEngine : public FakeEngine {
   public:
    using FakeEngine::FakeEngine;
    infer::HostMemory Allocate(size_t bytes) override {
      ++allocations;
      return FakeEngine::Allocate(bytes);
    }
    int allocations = 0;
  };
  infer::PipelineOptions options;
  options.readers = options.writers = 96;
  options.warmup = 1;
  struct {
    int images, batches;
  } cases[] = {{1, 1 + 1 + 1 + 1}, {5, 3 + 3 + 3 + 1}, {20, 10 + 4 + 10 + 1}};
  for (const auto& expected : cases) {
    const TemporaryFolder data, results;
    const auto inputs = WriteInputs(data, expected.images);
    CountingEngine engine(2, 2, 3);
    engine.requests = 4;
    CHECK_EQUAL(RunPipeline(&engine, inputs, results.path(), options).timing.images,
                static_cast<size_t>(expected.images));
    CHECK_EQUAL(engine.allocations, 2 * expected.batches);  // input and output of each
  }
}

TEST(NoInputsAreNothingToDo) {
  const TemporaryFolder results;
  FakeEngine engine(2, 2, 3);
  CHECK_EQUAL(RunPipeline(&engine, {}, results.path()).timing.images, size_t{0});
  CHECK_EQUAL(engine.runs, 0);
}

TEST(EngineFailureEndsManyThreads) {
  for (int fail_at : {1, 8, 29}) {
    const TemporaryFolder data, results;
    const auto inputs = WriteInputs(data, 30);
    FakeEngine engine(1, 2, 3, fail_at);
    engine.requests = 3;
    infer::PipelineOptions options;
    options.readers = options.writers = 2;
    CHECK_ERROR(RunPipeline(&engine, inputs, results.path(), options), kFailed, "fake failure");
    CHECK(CountFiles(results) < 30);
  }
}

TEST(TimedRunsAreSharedByTheRequests) {
  FakeEngine engine(4, 2, 3);
  engine.requests = 2;
  const infer::Timing timing = infer::TimeRuns(&engine, 3, 5);
  CHECK_EQUAL(engine.runs, 2 * 3 + 5);
  CHECK_EQUAL(timing.run_ms.size(), size_t{5});
  CHECK_EQUAL(timing.requests, size_t{2});
}

TEST(TimedRunsLeaveOutTheWarmUp) {
  FakeEngine engine(4, 2, 3);
  const infer::Timing timing = infer::TimeRuns(&engine, 3, 5);
  CHECK_EQUAL(engine.runs, 8);
  CHECK_EQUAL(timing.run_ms.size(), size_t{5});
  CHECK_EQUAL(timing.images, size_t{20});
  CHECK_EQUAL(timing.seconds_with_io, 0.0);
}

TEST(LayoutComesFromTheModel) {
  FakeEngine engine(4, 2, 3);
  engine.outputs.push_back({"z", {4, 19, 2}, infer::ElementType::kFloat32, 608});
  const infer::ImageLayout layout = LayoutOf(engine);
  CHECK_EQUAL(layout.batch, size_t{4});
  CHECK_EQUAL(layout.input_bytes, size_t{2});
  CHECK_EQUAL(layout.output_bytes[0], size_t{3});
  CHECK_EQUAL(layout.output_bytes[1], size_t{152});
}

TEST(BinResultsAreNamedAfterInputs) {
  CHECK_EQUAL(BinResultName("data/frankfurt_000000_img.bin", 0), "frankfurt_000000_img_0.bin");
  CHECK_EQUAL(BinResultName("a.b_img.bin", 12), "a.b_img_12.bin");
}

TEST(ModelsThatDoNotFitAreNamed) {
  const std::string prefix = "the model does not fit this program: ";
  FakeEngine two_inputs(1, 2, 3), no_output(1, 2, 3), open_height(1, 2, 3), other_batch(4, 2, 3), scalar(1, 2, 3);
  two_inputs.inputs.push_back({"x2", {1, 2}, infer::ElementType::kUint8, 2});
  no_output.outputs.clear();
  open_height.inputs[0] = {"x", {1, 3, -1, 2048}, infer::ElementType::kFloat32, 0};
  other_batch.outputs[0] = {"y", {1, 12}, infer::ElementType::kUint8, 12};
  scalar.outputs[0] = {"y", {}, infer::ElementType::kFloat32, 4};
  CHECK_ERROR(LayoutOf(two_inputs), kFailed, prefix + "expected 1 input, found 2");
  CHECK_ERROR(LayoutOf(no_output), kFailed, prefix + "it has no output");
  CHECK_ERROR(LayoutOf(open_height), kFailed,
              prefix + "input \"x\" is float32 [1, 3, -1, 2048]; export it with a fixed batch, height and width");
  CHECK_ERROR(LayoutOf(other_batch), kFailed,
              prefix + "output \"y\" is uint8 [1, 12]; expected a first dimension of 4, the batch of the input");
  CHECK_ERROR(LayoutOf(scalar), kFailed, prefix + "output \"y\" is float32 []; expected a batch of images");
}

}  // namespace
