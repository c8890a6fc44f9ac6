#ifndef ASCEND310_INFER_PIPELINE_H_
#define ASCEND310_INFER_PIPELINE_H_

#include <cstddef>
#include <filesystem>
#include <string>
#include <vector>

#include "engine.h"
#include "task.h"
#include "timing.h"

namespace infer {

// How images lie in the tensors of a model: one input, any number of outputs, all with the batch as first dimension.
struct ImageLayout {
  size_t batch;
  size_t input_bytes;                // of one image
  std::vector<size_t> output_bytes;  // of one image, per output
};

// Throws Error(kFailed) if the model is not of that form or has open dimensions.
ImageLayout LayoutOf(const Engine& engine);

// There are never more threads of a kind, or requests, than batches to fill: each has a batch in host memory.
struct PipelineOptions {
  size_t readers = 1;  // threads that read and preprocess
  size_t writers = 1;  // threads that postprocess and write
  int warmup = 0;      // runs of each request, on zeros, before the first that counts
};

struct PipelineResult {
  Timing timing;
  std::vector<std::string> bad_inputs;  // one message per input that could not be used or scored, in their order
};

// Runs the model over input files: task.Prepare, the engine's requests and task.Finish overlap. A batch that the last
// images don't fill is padded with zeros and the padding's results dropped. An Error(kBadInput) of the task is noted
// and the others done; any other error stops everything and is thrown, after what was done has been written. The timing
// has every image that the model has seen.
PipelineResult RunPipeline(Engine* engine, const std::vector<std::filesystem::path>& inputs, Task* task,
                           const PipelineOptions& options);

// Runs the model `runs` times, on zeros and without any file, over all requests of the engine; each is warmed up first.
Timing TimeRuns(Engine* engine, int warmup, int runs);

}  // namespace infer

#endif  // ASCEND310_INFER_PIPELINE_H_
