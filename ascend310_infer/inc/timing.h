#ifndef ASCEND310_INFER_TIMING_H_
#define ASCEND310_INFER_TIMING_H_

#include <array>
#include <chrono>
#include <cstddef>
#include <ctime>
#include <mutex>
#include <vector>

namespace infer {

// What happens to an image outside the model.
enum class Stage { kRead, kPreprocess, kPostprocess, kWrite };
constexpr std::array<Stage, 4> kStages = {Stage::kRead, Stage::kPreprocess, Stage::kPostprocess, Stage::kWrite};

// "read", "preprocess", "postprocess", "write"
const char* NameOf(Stage stage);

// Milliseconds of one image, by stage.
using StageTimes = std::array<double, kStages.size()>;

// What was measured. A run handles up to `batch` images; warm-up runs are not in here.
struct Timing {
  std::vector<double> run_ms;      // of each run of the model, in the order in which they ended
  std::vector<StageTimes> stages;  // of each image
  size_t batch = 1;
  size_t requests = 1;  // runs that could be in flight at the same time
  size_t images = 0;
  double inference_seconds = 0;  // while at least one run was in flight
  double seconds_with_io = 0;    // from the first read to the last rename; 0: no files were involved
  double processor_seconds = 0;  // that all threads together took for that, or for the runs if there were no files
};

// Measures from its making, or the last Lap(), on.
class Stopwatch {
 public:
  // Milliseconds; starts anew.
  double Lap() {
    const Clock::time_point now = Clock::now();
    const double milliseconds = std::chrono::duration<double, std::milli>(now - start_).count();
    start_ = now;
    return milliseconds;
  }

 private:
  using Clock = std::chrono::steady_clock;
  Clock::time_point start_ = Clock::now();
};

// Processor time of all threads of the program, from its making on.
class ProcessorClock {
 public:
  double seconds() const { return static_cast<double>(std::clock() - start_) / CLOCKS_PER_SEC; }

 private:
  const std::clock_t start_ = std::clock();
};

// Collects the runs of several threads.
class RunRecorder {
 public:
  // Around each run.
  void Begin();
  void End(double milliseconds);

  std::vector<double> run_ms() const { return run_ms_; }
  double busy_seconds() const { return busy_ms_ / 1000; }

 private:
  std::mutex mutex_;
  std::vector<double> run_ms_;
  size_t in_flight_ = 0;
  Stopwatch busy_;
  double busy_ms_ = 0;
};

}  // namespace infer

#endif  // ASCEND310_INFER_TIMING_H_
