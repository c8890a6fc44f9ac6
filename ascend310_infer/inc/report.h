#ifndef ASCEND310_INFER_REPORT_H_
#define ASCEND310_INFER_REPORT_H_

#include <string>

#include "confusion_matrix.h"
#include "engine.h"
#include "timing.h"

namespace infer {

// The text of test_perform_static.txt; its first line is the one that existing scripts look for. At least one run.
std::string FormatReport(const Timing& timing, const Engine& engine, const std::string& model_path);

// The same measurements as a JSON object, for programs. Times are in milliseconds, rates in images per second. With
// `score`, which may be nullptr, also the mean IoU and the pixel accuracy, in per cent.
std::string FormatJsonReport(const Timing& timing, const Engine& engine, const std::string& model_path,
                             const ConfusionMatrix* score);

}  // namespace infer

#endif  // ASCEND310_INFER_REPORT_H_
