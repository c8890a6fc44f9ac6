#include "bin_task.h"

#include "files.h"

namespace infer {

void BinTask::Prepare(Sample* sample, const TensorView& input) {
  Stopwatch stopwatch;
  ReadExactly(*sample->file, input);
  sample->times[static_cast<size_t>(Stage::kRead)] = stopwatch.Lap();
}

void BinTask::Finish(Sample* sample, const std::vector<ConstTensorView>& outputs) {
  Stopwatch stopwatch;
  for (size_t i = 0; i < outputs.size(); ++i) {
    WriteAtomically(result_folder_ / BinResultName(*sample->file, i), outputs[i]);
  }
  sample->times[static_cast<size_t>(Stage::kWrite)] = stopwatch.Lap();
}

void BinTask::End() { SyncFolder(result_folder_); }

std::string BinResultName(const std::filesystem::path& input, size_t index) {
  return input.stem().string() + "_" + std::to_string(index) + ".bin";
}

}  // namespace infer
