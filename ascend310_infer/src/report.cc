#include "report.h"

#include <algorithm>
#include <cmath>
#include <iomanip>
#include <sstream>
#include <vector>

#include "json.h"
#include "statistics.h"

namespace infer {
namespace {

std::vector<double> TimesOf(const Timing& timing, Stage stage) {
  std::vector<double> times;
  for (const StageTimes& image : timing.stages) times.push_back(image[static_cast<size_t>(stage)]);
  return times;
}

double InferenceRate(const Timing& timing) { return static_cast<double>(timing.images) / timing.inference_seconds; }
double RateWithIo(const Timing& timing) { return static_cast<double>(timing.images) / timing.seconds_with_io; }

// JSON has no NaN.
std::string JsonNumber(double number) {
  if (!std::isfinite(number)) return "null";
  std::ostringstream text;
  text << std::fixed << std::setprecision(4) << number;
  return text.str();
}

std::string JsonSummary(const std::vector<double>& values) {
  std::ostringstream text;
  text << std::fixed << std::setprecision(3) << "{\"mean\": " << Mean(values);
  for (int percent : {50, 90, 95, 99}) text << ", \"p" << percent << "\": " << Percentile(values, percent);
  text << ", \"max\": " << Percentile(values, 100) << "}";
  return text.str();
}

std::string JsonTensors(const std::vector<TensorInfo>& tensors) {
  std::string text;
  for (const TensorInfo& tensor : tensors) text += (text.empty() ? "" : ", ") + JsonString(Describe(tensor));
  return "[" + text + "]";
}

}  // namespace

std::string FormatReport(const Timing& timing, const Engine& engine, const std::string& model_path) {
  const std::vector<double>& runs = timing.run_ms;
  std::ostringstream text;
  text << std::fixed << std::setprecision(3);
  text << "NN inference cost average time: " << Mean(runs) << " ms of infer_count " << runs.size() << "\n";
  text << "model           " << model_path << " (" << engine.Description() << ")\n";
  for (const TensorInfo& tensor : engine.Inputs()) text << "input           " << Describe(tensor) << "\n";
  for (const TensorInfo& tensor : engine.Outputs()) text << "output          " << Describe(tensor) << "\n";
  text << "images          " << timing.images << " in " << runs.size() << " runs of batch " << timing.batch << ", "
       << timing.requests << " in flight\n";
  text << "latency of run  mean " << Mean(runs) << " ms, median " << Percentile(runs, 50) << " ms, p90 "
       << Percentile(runs, 90) << " ms, p99 " << Percentile(runs, 99) << " ms\n";
  if (!timing.stages.empty()) {
    text << "per image       ";
    for (Stage stage : kStages) {
      text << (stage == kStages[0] ? "" : ", ") << NameOf(stage) << " " << Mean(TimesOf(timing, stage)) << " ms";
    }
    text << "\n";
  }
  text << "inference only  " << InferenceRate(timing) << " images/s\n";
  text << "with file I/O   ";
  if (timing.seconds_with_io > 0) {
    text << RateWithIo(timing) << " images/s\n";
  } else {
    text << "not measured (--loop)\n";
  }
  return text.str();
}

std::string FormatJsonReport(const Timing& timing, const Engine& engine, const std::string& model_path,
                             const ConfusionMatrix* score) {
  std::ostringstream text;
  text << std::fixed << std::setprecision(3);
  text << "{\n  \"model\": " << JsonString(model_path) << ",\n  \"runtime\": " << JsonString(engine.Description())
       << ",\n  \"inputs\": " << JsonTensors(engine.Inputs()) << ",\n  \"outputs\": " << JsonTensors(engine.Outputs())
       << ",\n  \"batch\": " << timing.batch << ",\n  \"requests\": " << timing.requests
       << ",\n  \"images\": " << timing.images << ",\n  \"runs\": " << timing.run_ms.size()
       << ",\n  \"run_latency_ms\": " << JsonSummary(timing.run_ms);
  if (!timing.stages.empty()) {
    text << ",\n  \"stage_ms\": {";
    for (Stage stage : kStages) {
      text << (stage == kStages[0] ? "" : ", ") << "\"" << NameOf(stage)
           << "\": " << JsonSummary(TimesOf(timing, stage));
    }
    text << "}";
  }
  text << ",\n  \"processor_ms_per_image\": "
       << 1000 * timing.processor_seconds / static_cast<double>(std::max<size_t>(1, timing.images));
  text << ",\n  \"inference_images_per_second\": " << InferenceRate(timing);
  text << ",\n  \"end_to_end_images_per_second\": ";
  if (timing.seconds_with_io > 0) {
    text << RateWithIo(timing);
  } else {
    text << "null";
  }
  if (score != nullptr) {
    text << ",\n  \"mean_iou\": " << JsonNumber(100 * score->MeanIou())
         << ",\n  \"pixel_accuracy\": " << JsonNumber(100 * score->PixelAccuracy());
  }
  text << "\n}\n";
  return text.str();
}

}  // namespace infer
