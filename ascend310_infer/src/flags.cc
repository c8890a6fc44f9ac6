#include "flags.h"

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <sstream>
#include <variant>

#include "error.h"
#include "metadata.h"

namespace infer {
namespace {

namespace fs = std::filesystem;

struct Flag {
  std::string name;
  std::variant<std::string*, int*, std::vector<int>*, Device*, Precision*, std::optional<Results>*> target;
  std::string help;
};

std::vector<Flag> TableOf(Flags* flags) {
  EngineOptions* engine = &flags->engine;
  return {
      {"model_path", &engine->model_path, "model: .mindir/.ms (MindSpore Lite), .om (AscendCL), .onnx/.xml (OpenVINO)"},
      {"dataset_path", &flags->dataset_path,
       "folder of PNG and JPEG images, one such file, or a folder of <stem>_img.bin files"},
      {"save", &flags->save,
       "results of images, some of class_map, mask and overlay with commas between them, or none (default class_map)"},
      {"label_path", &flags->label_path, "folder of labels: prints the score of the results"},
      {"label_ids", &flags->label_ids, "value of each class in the labels, with commas; not given: they are train ids"},
      {"device_type", &engine->device, "auto, Ascend or CPU"},
      {"device_id", &engine->device_id, "number of the Ascend device"},
      {"fusion_switch_path", &engine->fusion_switch_path, "fusion switch file for MindSpore Lite on Ascend"},
      {"precision", &engine->precision,
       "float32, fast (what the device computes fastest), or auto: float32 on the CPU, fast on Ascend"},
      {"threads", &engine->threads, "CPU threads of the runtime, 0: it decides"},
      {"requests", &engine->requests, "runs of the model in flight at the same time, 0: as the runtime suggests"},
      {"batch_size", &flags->batch_size, "batch of a model that leaves it open, 0: as its metadata says"},
      {"image_height", &flags->image_height, "height of a model that leaves its size open, 0: as its metadata says"},
      {"image_width", &flags->image_width, "width of such a model"},
      {"workers", &flags->workers,
       "threads that read and preprocess, and as many that postprocess and write; 0: one for every two cores, at most "
       "8"},
      {"result_path", &flags->result_path, "folder for the results"},
      {"time_path", &flags->time_path, "folder for the timing report, test_perform_static.txt"},
      {"report_json", &flags->report_json, "file for the report as JSON"},
      {"warmup", &flags->warmup, "runs of each request that do not count, before the first that does"},
      {"loop", &flags->loop, "only time that many runs of the model, without any file; 0: process the dataset"},
  };
}

int ParseNumber(const std::string& name, const std::string& value) {
  int number = 0;
  const char* end = value.data() + value.size();
  const auto [stop, error] = std::from_chars(value.data(), end, number);
  if (error != std::errc() || stop != end || number < 0) {
    throw Error(kUsage, "--" + name + " expects a whole number from 0 on, found \"" + value + "\"");
  }
  return number;
}

// "a,b" -> "a", "b"
std::vector<std::string> SplitAtCommas(const std::string& text) {
  std::vector<std::string> words;
  for (size_t begin = 0, end = 0; end != std::string::npos; begin = end + 1) {
    end = text.find(',', begin);
    words.push_back(text.substr(begin, end == std::string::npos ? end : end - begin));
  }
  return words;
}

std::vector<int> ParseIds(const std::string& name, const std::string& value) {
  std::vector<int> ids;
  for (const std::string& word : SplitAtCommas(value)) {
    ids.push_back(ParseNumber(name, word));
    if (ids.back() > 255 || std::count(ids.begin(), ids.end(), ids.back()) > 1) {
      throw Error(kUsage, "--" + name + " expects different numbers from 0 to 255, found \"" + value + "\"");
    }
  }
  return ids;
}

Results ParseResults(const std::string& name, const std::string& value) {
  Results results;
  results.class_map = false;
  if (value == "none") return results;
  for (const std::string& word : SplitAtCommas(value)) {
    const auto kind = std::find_if(std::begin(kResultKinds), std::end(kResultKinds),
                                   [&](const ResultKind& one) { return word == one.name; });
    if (kind == std::end(kResultKinds)) {
      throw Error(kUsage, "--" + name + " expects some of class_map, mask, overlay, or none, found \"" + value + "\"");
    }
    results.*kind->wanted = true;
  }
  return results;
}

void Assign(const Flag& flag, const std::string& value) {
  if (auto text = std::get_if<std::string*>(&flag.target)) **text = value;
  if (auto number = std::get_if<int*>(&flag.target)) **number = ParseNumber(flag.name, value);
  if (auto numbers = std::get_if<std::vector<int>*>(&flag.target)) **numbers = ParseIds(flag.name, value);
  if (auto device = std::get_if<Device*>(&flag.target)) **device = ParseDevice(flag.name, value);
  if (auto precision = std::get_if<Precision*>(&flag.target)) **precision = ParsePrecision(flag.name, value);
  if (auto results = std::get_if<std::optional<Results>*>(&flag.target)) **results = ParseResults(flag.name, value);
}

// The value that a flag has now, as it would be written on the command line.
std::string ValueOf(const Flag& flag) {
  if (auto text = std::get_if<std::string*>(&flag.target)) return **text;
  if (auto number = std::get_if<int*>(&flag.target)) return std::to_string(**number);
  if (auto device = std::get_if<Device*>(&flag.target)) return NameOf(**device);
  if (auto precision = std::get_if<Precision*>(&flag.target)) return NameOf(**precision);
  return "";
}

bool IsSamePath(const fs::path& a, const fs::path& b) {
  return fs::weakly_canonical(fs::absolute(a)) == fs::weakly_canonical(fs::absolute(b));
}

void Check(const Flags& flags) {
  const EngineOptions& engine = flags.engine;
  if (!flags.label_ids.empty() && flags.label_path.empty()) throw Error(kUsage, "--label_ids needs --label_path");
  if (engine.model_path.empty()) throw Error(kUsage, "--model_path is required; see --help");
  if (flags.dataset_path.empty() && flags.loop == 0) {
    throw Error(kUsage, "--dataset_path is required (or --loop=N to only time the model); see --help");
  }
  if (flags.result_path.empty() || flags.time_path.empty()) {
    throw Error(kUsage, "--result_path and --time_path expect a folder, found \"\"");
  }
  std::error_code ignored;
  if (!engine.fusion_switch_path.empty() && !fs::is_regular_file(engine.fusion_switch_path, ignored)) {
    throw Error(kUsage, "--fusion_switch_path expects an existing file, found \"" + engine.fusion_switch_path + "\"");
  }
  for (const fs::path& of_model : {fs::path(engine.model_path), MetadataPath(engine.model_path)}) {
    if (!flags.report_json.empty() && IsSamePath(flags.report_json, of_model)) {
      throw Error(kUsage, "--report_json expects a new file, found the model's own \"" + flags.report_json + "\"");
    }
  }
}

}  // namespace

Flags ParseFlags(const std::vector<std::string>& arguments) {
  Flags flags;
  const std::vector<Flag> table = TableOf(&flags);
  for (size_t i = 0; i < arguments.size(); ++i) {
    const std::string& argument = arguments[i];
    if (argument == "--help") {
      flags.help = true;
      return flags;
    }
    const size_t equals = argument.find('=');
    const std::string name = argument.rfind("--", 0) == 0 ? argument.substr(2, equals - 2) : "";
    const auto flag = std::find_if(table.begin(), table.end(), [&](const Flag& f) { return f.name == name; });
    if (flag == table.end()) throw Error(kUsage, "unknown argument \"" + argument + "\"; see --help");
    if (equals != std::string::npos) {
      Assign(*flag, argument.substr(equals + 1));
    } else if (i + 1 < arguments.size() && arguments[i + 1].rfind("--", 0) != 0) {
      Assign(*flag, arguments[++i]);
    } else {
      throw Error(kUsage, argument + " expects a value: " + flag->help);
    }
  }
  Check(flags);
  return flags;
}

std::string HelpText() {
  Flags defaults;
  std::ostringstream text;
  text << "Runs a segmentation model over images.\n\n"
          "  main --model_path=net.onnx --dataset_path=images --save=mask,overlay\n"
          "  main --model_path=net.onnx --dataset_path=preprocess_Result/img_data\n\n";
  for (const Flag& flag : TableOf(&defaults)) {
    text << "  --" << flag.name << "\n      " << flag.help;
    if (const std::string value = ValueOf(flag); !value.empty()) text << " (default " << value << ")";
    text << "\n";
  }
  text << "\nExit code: 0 all done, 1 failed, 2 wrong usage, 3 some inputs were bad (the others are done).\n";
  return text.str();
}

size_t DefaultWorkers(size_t cores) { return std::min<size_t>((cores + 1) / 2, 8); }

}  // namespace infer
