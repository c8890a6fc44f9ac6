#include <algorithm>
#include <csignal>
#include <cstdio>
#include <exception>
#include <string>
#include <thread>
#include <vector>

#include "bin_task.h"
#include "engine.h"
#include "error.h"
#include "files.h"
#include "flags.h"
#include "pipeline.h"
#include "report.h"

namespace infer {
namespace {

constexpr char kReportName[] = "test_perform_static.txt";

void Report(const Timing& timing, const Engine& engine, const Flags& flags) {
  const std::string text = FormatReport(timing, engine, flags.engine.model_path);
  std::fputs(text.c_str(), stdout);
  WriteAtomically(std::filesystem::path(flags.time_path) / kReportName, {text.data(), text.size()});
  if (flags.report_json.empty()) return;
  const std::string json = FormatJsonReport(timing, engine, flags.engine.model_path);
  WriteAtomically(flags.report_json, {json.data(), json.size()});
}

size_t WorkersOf(const Flags& flags) {
  if (flags.workers > 0) return static_cast<size_t>(flags.workers);
  return std::max(1u, std::thread::hardware_concurrency() / 2);
}

int ProcessDataset(Engine* engine, const std::vector<std::filesystem::path>& inputs, const Flags& flags) {
  PipelineOptions options;
  options.readers = options.writers = WorkersOf(flags);
  options.warmup = flags.warmup;
  BinTask task(flags.result_path);
  const PipelineResult result = RunPipeline(engine, inputs, &task, options);
  if (result.timing.images > 0) Report(result.timing, *engine, flags);
  for (const std::string& message : result.bad_inputs) std::fprintf(stderr, "bad input: %s\n", message.c_str());
  if (result.bad_inputs.empty()) return kDone;
  std::fprintf(stderr, "error: %zu of %zu inputs could not be used; the results of the others are in %s\n",
               result.bad_inputs.size(), inputs.size(), flags.result_path.c_str());
  return kBadInput;
}

int Main(const std::vector<std::string>& arguments) {
  const Flags flags = ParseFlags(arguments);
  if (flags.help) {
    std::fputs(HelpText().c_str(), stdout);
    return kDone;
  }
  // Whatever can be found wrong before the model is loaded, which may take minutes on Ascend.
  PrepareFolder(flags.time_path);
  std::vector<std::filesystem::path> inputs;
  if (flags.loop == 0) {
    inputs = ListInputs(flags.dataset_path);
    PrepareFolder(flags.result_path);
  }
  const std::unique_ptr<Engine> engine = LoadEngine(flags.engine);
  if (flags.loop == 0) return ProcessDataset(engine.get(), inputs, flags);
  Report(TimeRuns(engine.get(), flags.warmup, flags.loop), *engine, flags);
  return kDone;
}

}  // namespace
}  // namespace infer

int main(int argc, char** argv) {
  // A file that grows past the limit of the process is then an ordinary write error, as a full disk is.
  std::signal(SIGXFSZ, SIG_IGN);
  try {
    return infer::Main(std::vector<std::string>(argv + 1, argv + argc));
  } catch (const infer::Error& error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    return error.exit_code();
  } catch (const std::exception& error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    return infer::kFailed;
  }
}
