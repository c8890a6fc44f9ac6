#include "report.h"

#include "check.h"
#include "fake_engine.h"
#include "json.h"

namespace {

infer::Timing SomeTiming() {
  infer::Timing timing;
  timing.run_ms = {10, 20, 30, 40};
  timing.batch = 2;
  timing.requests = 3;
  timing.images = 7;
  timing.inference_seconds = 0.1;
  timing.seconds_with_io = 0.14;
  timing.processor_seconds = 0.21;
  timing.stages = {{1, 2, 3, 4}, {3, 2, 1, 5}};
  return timing;
}

TEST(ReportSaysEverything) {
  const FakeEngine engine(2, 3, 4);
  infer::Timing timing = SomeTiming();
  CHECK_EQUAL(infer::FormatReport(timing, engine, "net.om"),
              "NN inference cost average time: 25.000 ms of infer_count 4\n"
              "model           net.om (fake, CPU)\n"
              "input           uint8 [2, 3]\n"
              "output          uint8 [2, 4]\n"
              "images          7 in 4 runs of batch 2, 3 in flight\n"
              "latency of run  mean 25.000 ms, median 25.000 ms, p90 37.000 ms, p99 39.700 ms\n"
              "per image       read 2.000 ms, preprocess 2.000 ms, postprocess 2.000 ms, write 4.500 ms\n"
              "inference only  70.000 images/s\n"
              "with file I/O   50.000 images/s\n");
  timing.seconds_with_io = 0;
  timing.stages.clear();
  const std::string report = infer::FormatReport(timing, engine, "net.om");
  CHECK(report.find("with file I/O   not measured (--loop)\n") != std::string::npos);
  CHECK(report.find("per image") == std::string::npos);
}

TEST(JsonReportSaysTheSame) {
  const FakeEngine engine(2, 3, 4);
  infer::Timing timing = SomeTiming();
  infer::ConfusionMatrix score(2, 255);
  infer::Image label({1, 4}, 1), prediction({1, 4}, 1);
  label.pixels = {0, 0, 0, 1};
  prediction.pixels = {0, 0, 1, 1};
  score.Add(prediction, label);
  const infer::Json report = infer::Json::Parse(infer::FormatJsonReport(timing, engine, "a \"b\".om", &score));
  CHECK_EQUAL(report["model"].AsString(), "a \"b\".om");
  CHECK_EQUAL(report["runtime"].AsString(), "fake, CPU");
  CHECK_EQUAL(report["inputs"].AsArray()[0].AsString(), "uint8 [2, 3]");
  CHECK_EQUAL(report["outputs"].AsArray()[0].AsString(), "uint8 [2, 4]");
  CHECK_EQUAL(report["batch"].AsInt(), 2);
  CHECK_EQUAL(report["requests"].AsInt(), 3);
  CHECK_EQUAL(report["images"].AsInt(), 7);
  CHECK_EQUAL(report["runs"].AsInt(), 4);
  CHECK_EQUAL(report["run_latency_ms"]["mean"].AsNumber(), 25.0);
  CHECK_EQUAL(report["run_latency_ms"]["p50"].AsNumber(), 25.0);
  CHECK_EQUAL(report["run_latency_ms"]["p90"].AsNumber(), 37.0);
  CHECK_EQUAL(report["run_latency_ms"]["p99"].AsNumber(), 39.7);
  CHECK_EQUAL(report["run_latency_ms"]["max"].AsNumber(), 40.0);
  CHECK_EQUAL(report["stage_ms"]["read"]["mean"].AsNumber(), 2.0);
  CHECK_EQUAL(report["stage_ms"]["write"]["max"].AsNumber(), 5.0);
  CHECK_EQUAL(report["processor_ms_per_image"].AsNumber(), 30.0);
  CHECK_EQUAL(report["inference_images_per_second"].AsNumber(), 70.0);
  CHECK_EQUAL(report["end_to_end_images_per_second"].AsNumber(), 50.0);
  CHECK_EQUAL(report["mean_iou"].AsNumber(), 58.3333);
  CHECK_EQUAL(report["pixel_accuracy"].AsNumber(), 75.0);
  timing.seconds_with_io = 0;
  timing.stages.clear();
  const std::string text = infer::FormatJsonReport(timing, engine, "net.om", nullptr);
  CHECK(text.find("\"end_to_end_images_per_second\": null") != std::string::npos);
}

}  // namespace
