#ifndef ASCEND310_INFER_STATISTICS_H_
#define ASCEND310_INFER_STATISTICS_H_

#include <cstddef>
#include <string>
#include <vector>

#include "engine.h"

namespace infer {

// What was measured. A run handles up to `batch` images; warm-up runs are not in here.
struct Timing {
  std::vector<double> run_ms;  // one entry per run of the model, in milliseconds
  size_t batch = 1;
  size_t images = 0;
  double seconds_with_io = 0;  // from the first read to the last rename; 0: no files were involved
};

// The value below which `percent` % of the values lie, linear between the two nearest ranks (as NumPy does by default).
// `values` need not be sorted but must not be empty; 0 <= percent <= 100.
double Percentile(std::vector<double> values, double percent);

// "float32 [1, 3, 1024, 2048]"
std::string Describe(const TensorInfo& tensor);

// The text of test_perform_static.txt; its first line is the one that existing scripts look for. At least one run.
std::string FormatReport(const Timing& timing, const Engine& engine, const std::string& model_path);

}  // namespace infer

#endif  // ASCEND310_INFER_STATISTICS_H_
