#ifndef ASCEND310_INFER_FLAGS_H_
#define ASCEND310_INFER_FLAGS_H_

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "engine_options.h"
#include "image_task.h"

namespace infer {

// The command line. A default stands here and nowhere else.
struct Flags {
  EngineOptions engine;
  std::string dataset_path;
  std::string label_path;       // empty: no score
  std::vector<int> label_ids;   // value of each class in the labels; empty: train ids
  std::optional<Results> save;  // of images; none: the flag was not given
  std::string result_path = "./result_Files";
  std::string time_path = "./time_Result";
  // Of a model that leaves them open; 0: as its metadata says.
  int batch_size = 0;
  int image_height = 0;
  int image_width = 0;
  int warmup = 2;           // runs before the first that counts
  int loop = 0;             // 0: process the dataset; N: only time N runs
  int workers = 0;          // threads that read and preprocess, and as many that postprocess and write; 0: by the cores
  std::string report_json;  // file for the report as JSON; empty: none
  bool help = false;
};

// Parses "--name=value" and "--name value" (a later one wins). Throws Error(kUsage) for an unknown flag, a missing or
// bad value, or a required flag that is not there. With --help nothing else is required.
Flags ParseFlags(const std::vector<std::string>& arguments);

std::string HelpText();

// What --workers=0 means: one for every two cores, at most 8, because each needs a batch in host memory.
size_t DefaultWorkers(size_t cores);

}  // namespace infer

#endif  // ASCEND310_INFER_FLAGS_H_
