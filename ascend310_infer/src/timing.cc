#include "timing.h"

namespace infer {

const char* NameOf(Stage stage) {
  switch (stage) {
    case Stage::kRead:
      return "read";
    case Stage::kPreprocess:
      return "preprocess";
    case Stage::kPostprocess:
      return "postprocess";
    case Stage::kWrite:
      return "write";
  }
  return "";
}

void RunRecorder::Begin() {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (in_flight_++ == 0) busy_.Lap();
}

void RunRecorder::End(double milliseconds) {
  const std::lock_guard<std::mutex> lock(mutex_);
  run_ms_.push_back(milliseconds);
  if (--in_flight_ == 0) busy_ms_ += busy_.Lap();
}

}  // namespace infer
