#include "bin_task.h"

#include "files.h"

namespace infer {

void BinTask::Prepare(Sample* sample, const TensorView& input) {
  Stopwatch stopwatch;
  ReadExactly(*sample->file, input);
  sample->time(Stage::kRead) = stopwatch.Lap();
}

void BinTask::Finish(Sample* sample, const std::vector<ConstTensorView>& outputs) {
  Stopwatch stopwatch;
  std::vector<ConstTensorView> results = outputs;
  Image class_map;
  if (writes_class_map_ || scorer_ != nullptr) {
    class_map = decoder_->Decode(outputs.at(0), size_, *sample->file);
    if (writes_class_map_) results[0] = {class_map.pixels.data(), class_map.pixels.size()};
  }
  sample->time(Stage::kPostprocess) = stopwatch.Lap();
  for (size_t i = 0; i < results.size(); ++i) {
    WriteAtomically(result_folder_ / BinResultName(*sample->file, i), results[i]);
  }
  sample->time(Stage::kWrite) = stopwatch.Lap();
  if (scorer_ != nullptr) scorer_->Score(*sample->file, class_map);  // the last, so that the results are there anyway
  sample->time(Stage::kPostprocess) += stopwatch.Lap();
}

void BinTask::End() { SyncFolder(result_folder_); }

std::string BinResultName(const std::filesystem::path& input, size_t index) {
  return input.stem().string() + "_" + std::to_string(index) + ".bin";
}

}  // namespace infer
