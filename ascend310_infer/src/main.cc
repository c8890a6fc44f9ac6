#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "bin_task.h"
#include "class_map_decoder.h"
#include "dataset.h"
#include "engine.h"
#include "error.h"
#include "files.h"
#include "flags.h"
#include "image_codec.h"
#include "image_task.h"
#include "metadata.h"
#include "pipeline.h"
#include "report.h"
#include "scorer.h"

namespace infer {
namespace {

constexpr char kReportName[] = "test_perform_static.txt";

std::filesystem::path ReportFile(const Flags& flags) { return std::filesystem::path(flags.time_path) / kReportName; }

void PrintReport(const Timing& timing, const Engine& engine, const Flags& flags) {
  std::fputs(FormatReport(timing, engine, flags.engine.model_path).c_str(), stdout);
}

// After everything has been printed, which a full disk then does not take with it.
void WriteReports(const Timing& timing, const Engine& engine, const Flags& flags, const ConfusionMatrix* score) {
  const std::string text = FormatReport(timing, engine, flags.engine.model_path);
  WriteAtomically(ReportFile(flags), {text.data(), text.size()});
  if (flags.report_json.empty()) return;
  const std::string json = FormatJsonReport(timing, engine, flags.engine.model_path, score);
  WriteAtomically(flags.report_json, {json.data(), json.size()});
}

// What can be found wrong before the model is loaded, which may take minutes on Ascend.
void CheckBeforeLoading(const Dataset& dataset, const Flags& flags, const std::optional<Metadata>& metadata) {
  if (dataset.is_bin && flags.save)
    throw Error(kUsage, "--save is for images; the results of .bin files are .bin files");
  if (!dataset.is_bin) CheckImageSupport();
  if (!metadata && (!dataset.is_bin || !flags.label_path.empty())) {
    throw Error(kFailed, "no metadata " + MetadataPath(flags.engine.model_path).string() +
                             ", which images and --label_path need; export.py writes it next to the model");
  }
}

size_t Cores() { return std::max(1u, std::thread::hardware_concurrency()); }

PipelineOptions PipelineOptionsOf(const Flags& flags) {
  PipelineOptions options;
  options.readers = options.writers = flags.workers > 0 ? static_cast<size_t>(flags.workers) : DefaultWorkers(Cores());
  options.warmup = flags.warmup;
  return options;
}

// Messages on stderr, and the exit code.
int ListBadInputs(const std::vector<std::string>& problems, size_t inputs, const Flags& flags) {
  for (const std::string& message : problems) std::fprintf(stderr, "bad input: %s\n", message.c_str());
  if (problems.empty()) return kDone;
  std::fprintf(stderr, "error: %zu of %zu inputs could not be used or scored; all other results are in %s\n",
               problems.size(), inputs, flags.result_path.c_str());
  return kBadInput;
}

// What the model leaves open is as the flags and its metadata say.
std::unique_ptr<Engine> LoadWithShape(const Flags& flags, std::optional<Metadata>* metadata) {
  EngineOptions options = flags.engine;
  if (*metadata) {
    const auto chosen = [](int flag, int otherwise) { return flag > 0 ? flag : otherwise; };
    const Size& size = (*metadata)->size;
    *metadata = Resized(**metadata, {chosen(flags.image_height, size.height), chosen(flags.image_width, size.width)});
    (*metadata)->batch = chosen(flags.batch_size, (*metadata)->batch);
    options.input_shape = InputShape(**metadata);
  }
  std::unique_ptr<Engine> engine = LoadEngine(options);
  const std::vector<int64_t>& shape = engine->Inputs().at(0).shape;
  const bool has_batch = flags.batch_size == 0 || (!shape.empty() && shape[0] == flags.batch_size);
  const bool has_size = (flags.image_height == 0 && flags.image_width == 0) || shape == options.input_shape;
  if (!has_batch || !has_size) {
    throw Error(kUsage,
                "--batch_size, --image_height and --image_width are for a model with metadata that leaves them open; "
                "the model takes " +
                    Describe(engine->Inputs()[0]) +
                    "; export it with --dynamic_batch=1 or --dynamic_size=1, or with that shape");
  }
  return engine;
}

// `scorer` may be nullptr.
std::unique_ptr<Task> TaskFor(const Dataset& dataset, const std::optional<Metadata>& metadata, const Engine& engine,
                              Scorer* scorer, const Flags& flags) {
  if (!metadata) return std::make_unique<BinTask>(flags.result_path);
  LayoutOf(engine);  // a model with open dimensions gets a message of its own
  CheckMetadata(*metadata, engine);
  const size_t threads = dataset.inputs.size() == 1 ? Cores() : 1;  // several images keep the cores busy anyway
  const ClassMapDecoder decoder(*metadata, engine.Outputs()[0].type, static_cast<int>(threads));
  if (dataset.is_bin) return std::make_unique<BinTask>(flags.result_path, *metadata, decoder, scorer);
  return std::make_unique<ImageTask>(*metadata, decoder, flags.save.value_or(Results()), flags.result_path, scorer);
}

// `scorer` may be nullptr.
int ProcessDataset(Engine* engine, const Dataset& dataset, const std::optional<Metadata>& metadata, Scorer* scorer,
                   const Flags& flags) {
  const std::unique_ptr<Task> task = TaskFor(dataset, metadata, *engine, scorer, flags);
  const PipelineResult result = RunPipeline(engine, dataset.inputs, task.get(), PipelineOptionsOf(flags));
  const ConfusionMatrix* score = scorer == nullptr ? nullptr : &scorer->matrix();
  const bool has_run = !result.timing.run_ms.empty();
  if (has_run) PrintReport(result.timing, *engine, flags);
  if (score != nullptr) std::fputs(("\n" + score->Summary(metadata->classes)).c_str(), stdout);

  std::vector<std::string> problems = dataset.problems;
  problems.insert(problems.end(), result.bad_inputs.begin(), result.bad_inputs.end());
  const int exit_code = ListBadInputs(problems, dataset.inputs.size() + dataset.problems.size(), flags);
  if (has_run) WriteReports(result.timing, *engine, flags, score);
  return exit_code;
}

int Main(const std::vector<std::string>& arguments) {
  const Flags flags = ParseFlags(arguments);
  if (flags.help) {
    std::fputs(HelpText().c_str(), stdout);
    return kDone;
  }
  PrepareFile(ReportFile(flags));
  if (!flags.report_json.empty()) PrepareFile(flags.report_json);
  std::optional<Metadata> metadata = ReadMetadata(flags.engine.model_path);
  if (flags.loop > 0) {
    const std::unique_ptr<Engine> engine = LoadWithShape(flags, &metadata);
    const Timing timing = TimeRuns(engine.get(), flags.warmup, flags.loop);
    PrintReport(timing, *engine, flags);
    WriteReports(timing, *engine, flags, nullptr);
    return kDone;
  }
  PrepareFolder(flags.result_path);
  const Dataset dataset = FindInputs(flags.dataset_path, flags.result_path);
  CheckBeforeLoading(dataset, flags, metadata);
  std::unique_ptr<Scorer> scorer;  // which reads the label folder now
  if (!flags.label_path.empty()) scorer = std::make_unique<Scorer>(flags.label_path, *metadata, flags.label_ids);
  const std::unique_ptr<Engine> engine = LoadWithShape(flags, &metadata);
  return ProcessDataset(engine.get(), dataset, metadata, scorer.get(), flags);
}

// The exit code of a run that ends with `code`: a score that could not be printed is no success. A stdout that was
// closed from the start is nobody's loss.
int CodeAfterPrinting(int code) {
  errno = 0;
  if ((std::fflush(stdout) == 0 && std::ferror(stdout) == 0) || errno == EBADF) return code;
  std::fprintf(stderr, "error: cannot write to stdout: %s\n", std::strerror(errno != 0 ? errno : EIO));
  return code == kDone ? static_cast<int>(kFailed) : code;
}

}  // namespace
}  // namespace infer

int main(int argc, char** argv) {
  // A file that grows past the limit of the process is then an ordinary write error, as a full disk is.
  std::signal(SIGXFSZ, SIG_IGN);
  try {
    return infer::CodeAfterPrinting(infer::Main(std::vector<std::string>(argv + 1, argv + argc)));
  } catch (const infer::Error& error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    return error.exit_code();
  } catch (const std::exception& error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    return infer::kFailed;
  }
}
