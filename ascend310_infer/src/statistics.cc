#include "statistics.h"

#include <algorithm>
#include <cmath>
#include <iomanip>
#include <numeric>
#include <sstream>

namespace infer {

double Percentile(std::vector<double> values, double percent) {
  std::sort(values.begin(), values.end());
  const double rank = percent / 100 * static_cast<double>(values.size() - 1);
  const size_t below = static_cast<size_t>(std::floor(rank));
  const size_t above = std::min(below + 1, values.size() - 1);
  return values[below] + (rank - std::floor(rank)) * (values[above] - values[below]);
}

std::string Describe(const TensorInfo& tensor) {
  std::ostringstream text;
  text << tensor.element_type << " [";
  for (size_t i = 0; i < tensor.shape.size(); ++i) text << (i == 0 ? "" : ", ") << tensor.shape[i];
  text << "]";
  return text.str();
}

std::string FormatReport(const Timing& timing, const Engine& engine, const std::string& model_path) {
  const std::vector<double>& runs = timing.run_ms;
  const double total_ms = std::accumulate(runs.begin(), runs.end(), 0.0);
  const double mean_ms = total_ms / static_cast<double>(runs.size());
  const double images = static_cast<double>(timing.images);
  std::ostringstream text;
  text << std::fixed << std::setprecision(3);
  text << "NN inference cost average time: " << mean_ms << " ms of infer_count " << runs.size() << "\n";
  text << "model           " << model_path << " (" << engine.Description() << ")\n";
  for (const TensorInfo& tensor : engine.Inputs()) text << "input           " << Describe(tensor) << "\n";
  for (const TensorInfo& tensor : engine.Outputs()) text << "output          " << Describe(tensor) << "\n";
  text << "images          " << timing.images << " in " << runs.size() << " runs of batch " << timing.batch << "\n";
  text << "latency of run  mean " << mean_ms << " ms, median " << Percentile(runs, 50) << " ms, p90 "
       << Percentile(runs, 90) << " ms, p99 " << Percentile(runs, 99) << " ms\n";
  text << "inference only  " << images / (total_ms / 1000) << " images/s\n";
  text << "with file I/O   ";
  if (timing.seconds_with_io > 0) {
    text << images / timing.seconds_with_io << " images/s\n";
  } else {
    text << "not measured (--loop)\n";
  }
  return text.str();
}

}  // namespace infer
