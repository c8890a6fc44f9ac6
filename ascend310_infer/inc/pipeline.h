#ifndef ASCEND310_INFER_PIPELINE_H_
#define ASCEND310_INFER_PIPELINE_H_

#include <cstddef>
#include <filesystem>
#include <string>
#include <vector>

#include "engine.h"
#include "statistics.h"

namespace infer {

// How images lie in the tensors of a model: one input, any number of outputs, all with the batch as first dimension.
struct ImageLayout {
  size_t batch;
  size_t input_bytes;                // of one image
  std::vector<size_t> output_bytes;  // of one image, per output
};

// Throws Error(kFailed) if the model is not of that form or has open dimensions.
ImageLayout LayoutOf(const Engine& engine);

struct PipelineResult {
  Timing timing;
  std::vector<std::string> bad_inputs;  // one message per input that could not be used, in the order of the inputs
};

// Runs the model over input files and writes the results into result_folder. Reading, inference (in the calling thread)
// and writing overlap; a batch that the last images don't fill is padded with zeros and the padding's results dropped.
// A bad input is noted and left out. An error of the engine or in writing stops everything and is thrown.
PipelineResult RunPipeline(Engine* engine, const std::vector<std::filesystem::path>& inputs,
                           const std::filesystem::path& result_folder);

// Runs the model `warmup` times, then `runs` times that count, on zeros and without any file.
Timing TimeRuns(Engine* engine, int warmup, int runs);

}  // namespace infer

#endif  // ASCEND310_INFER_PIPELINE_H_
