#include "flags.h"

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <sstream>
#include <variant>

#include "error.h"

namespace infer {
namespace {

struct Flag {
  std::string name;
  std::variant<std::string*, int*> target;
  std::string help;
};

std::vector<Flag> TableOf(Flags* flags) {
  EngineOptions* engine = &flags->engine;
  return {
      {"model_path", &engine->model_path, "model: .mindir/.ms (MindSpore Lite), .om (AscendCL), .onnx/.xml (OpenVINO)"},
      {"dataset_path", &flags->dataset_path, "folder of <stem>_img.bin files"},
      {"device_type", &engine->device_type, "auto, Ascend or CPU"},
      {"device_id", &engine->device_id, "number of the Ascend device"},
      {"fusion_switch_path", &engine->fusion_switch_path, "fusion switch file for MindSpore Lite on Ascend"},
      {"precision", &engine->precision,
       "float32, fast (what the device computes fastest), or auto: float32 on the CPU, fast on Ascend"},
      {"threads", &engine->threads, "CPU threads, 0: the runtime decides"},
      {"result_path", &flags->result_path, "folder for the results, <stem>_img_<output>.bin"},
      {"time_path", &flags->time_path, "folder for the timing report, test_perform_static.txt"},
      {"warmup", &flags->warmup, "runs that do not count, before the first that does"},
      {"loop", &flags->loop, "only time that many runs of the model, without any file; 0: process the dataset"},
  };
}

void Assign(const Flag& flag, const std::string& value) {
  if (auto text = std::get_if<std::string*>(&flag.target)) {
    **text = value;
    return;
  }
  int number = 0;
  const char* end = value.data() + value.size();
  const auto [stop, error] = std::from_chars(value.data(), end, number);
  if (error != std::errc() || stop != end || number < 0) {
    throw Error(kUsage, "--" + flag.name + " expects a whole number from 0 on, found \"" + value + "\"");
  }
  *std::get<int*>(flag.target) = number;
}

void CheckChoice(const std::string& name, const std::string& value, const std::vector<std::string>& choices) {
  if (std::find(choices.begin(), choices.end(), value) != choices.end()) return;
  std::string list;
  for (const auto& choice : choices) list += (list.empty() ? "" : ", ") + choice;
  throw Error(kUsage, "--" + name + " expects one of " + list + ", found \"" + value + "\"");
}

void Check(const Flags& flags) {
  const EngineOptions& engine = flags.engine;
  CheckChoice("device_type", engine.device_type, {"auto", "Ascend", "CPU"});
  CheckChoice("precision", engine.precision, {"auto", "float32", "fast"});
  if (engine.model_path.empty()) throw Error(kUsage, "--model_path is required; see --help");
  if (flags.dataset_path.empty() && flags.loop == 0) {
    throw Error(kUsage, "--dataset_path is required (or --loop=N to only time the model); see --help");
  }
  if (flags.result_path.empty() || flags.time_path.empty()) {
    throw Error(kUsage, "--result_path and --time_path expect a folder, found \"\"");
  }
  if (!engine.fusion_switch_path.empty() && !std::filesystem::is_regular_file(engine.fusion_switch_path)) {
    throw Error(kUsage, "--fusion_switch_path expects an existing file, found \"" + engine.fusion_switch_path + "\"");
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
  text << "Runs a segmentation model over preprocessed images.\n\n"
          "  main --model_path=net.onnx --dataset_path=preprocess_Result/img_data\n\n";
  for (const Flag& flag : TableOf(&defaults)) {
    text << "  --" << flag.name << "\n      " << flag.help;
    if (auto string = std::get_if<std::string*>(&flag.target)) {
      if (!(*string)->empty()) text << " (default " << **string << ")";
    } else {
      text << " (default " << *std::get<int*>(flag.target) << ")";
    }
    text << "\n";
  }
  text << "\nExit code: 0 all done, 1 failed, 2 wrong usage, 3 some inputs were bad (the others are done).\n";
  return text.str();
}

}  // namespace infer
