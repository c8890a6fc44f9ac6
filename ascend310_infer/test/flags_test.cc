#include "flags.h"

#include "check.h"

namespace {

using infer::Flags;
using infer::kUsage;
using infer::ParseFlags;

const std::vector<std::string> kLeast = {"--model_path=m.onnx", "--dataset_path=d"};

// Parses the least that is needed, and these arguments.
Flags Parse(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), kLeast.begin(), kLeast.end());
  return ParseFlags(arguments);
}

TEST(FlagsHaveTheirDefaults) {
  const Flags flags = Parse({});
  CHECK_EQUAL(flags.engine.model_path, "m.onnx");
  CHECK_EQUAL(flags.dataset_path, "d");
  CHECK(flags.engine.device == infer::Device::kAuto);
  CHECK(flags.engine.precision == infer::Precision::kAuto);
  CHECK_EQUAL(flags.engine.device_id, 0);
  CHECK_EQUAL(flags.engine.threads, 0);
  CHECK_EQUAL(flags.engine.requests, 0);
  CHECK_EQUAL(flags.workers, 0);
  CHECK_EQUAL(flags.report_json, "");
  CHECK_EQUAL(flags.engine.fusion_switch_path, "");
  CHECK_EQUAL(flags.result_path, "./result_Files");
  CHECK_EQUAL(flags.time_path, "./time_Result");
  CHECK_EQUAL(flags.warmup, 2);
  CHECK_EQUAL(flags.loop, 0);
  CHECK_EQUAL(flags.help, false);
}

TEST(WorkersGoByTheCores) {
  CHECK_EQUAL(infer::DefaultWorkers(1), size_t{1});
  CHECK_EQUAL(infer::DefaultWorkers(2), size_t{1});
  CHECK_EQUAL(infer::DefaultWorkers(7), size_t{4});
  CHECK_EQUAL(infer::DefaultWorkers(16), size_t{8});
  CHECK_EQUAL(infer::DefaultWorkers(192), size_t{8});
}

TEST(FlagsTakeBothForms) {
  const Flags flags = Parse({"--device_id=3", "--device_type", "Ascend", "--threads", "4", "--result_path=a=b"});
  CHECK_EQUAL(flags.engine.device_id, 3);
  CHECK(flags.engine.device == infer::Device::kAscend);
  CHECK_EQUAL(flags.engine.threads, 4);
  CHECK_EQUAL(flags.result_path, "a=b");
}

TEST(LaterFlagWins) { CHECK_EQUAL(Parse({"--warmup=5", "--warmup=7"}).warmup, 7); }

TEST(EmptyFusionSwitchMeansNone) { CHECK_EQUAL(Parse({"--fusion_switch_path="}).engine.fusion_switch_path, ""); }

TEST(HelpNeedsNothingElse) {
  CHECK(ParseFlags({"--help"}).help);
  CHECK(infer::HelpText().find("--loop\n      only time that many runs of the model, without any file; 0: process the "
                               "dataset (default 0)\n") != std::string::npos);
}

TEST(UnknownArgumentsAreErrors) {
  for (const std::string argument : {"--modelpath=x", "-h", "file.onnx", "--", "--=1", "", "--help=1"}) {
    CHECK_ERROR(Parse({argument}), kUsage, "unknown argument \"" + argument + "\"; see --help");
  }
}

TEST(NumbersAreChecked) {
  for (const std::string value : {"-1", "x", "1.5", "2 ", "", "99999999999", "0x10", "+1"}) {
    CHECK_ERROR(Parse({"--device_id=" + value}), kUsage,
                "--device_id expects a whole number from 0 on, found \"" + value + "\"");
  }
}

TEST(ChoicesAreChecked) {
  CHECK_ERROR(Parse({"--device_type=GPU"}), kUsage, "--device_type expects one of auto, Ascend, CPU, found \"GPU\"");
  CHECK_ERROR(Parse({"--precision=fp16"}), kUsage, "--precision expects one of auto, float32, fast, found \"fp16\"");
}

TEST(LabelIdsAreAList) {
  CHECK(Parse({"--label_path=l", "--label_ids=7,8,0"}).label_ids == std::vector<int>({7, 8, 0}));
  CHECK_ERROR(Parse({"--label_ids=7"}), kUsage, "--label_ids needs --label_path");
  CHECK_ERROR(Parse({"--label_ids=7,x"}), kUsage, "--label_ids expects a whole number from 0 on, found \"x\"");
  for (const std::string value : {"7,8,7", "256"}) {
    CHECK_ERROR(Parse({"--label_ids=" + value}), kUsage,
                "--label_ids expects different numbers from 0 to 255, found \"" + value + "\"");
  }
}

TEST(ResultsAreAList) {
  CHECK(!Parse({}).save);
  const infer::Results both = *Parse({"--save=mask,overlay"}).save;
  CHECK(!both.class_map && both.mask && both.overlay);
  const infer::Results none = *Parse({"--save", "none"}).save;
  CHECK(!none.class_map && !none.mask && !none.overlay);
  for (const std::string value : {"", "masks", "mask,", ",mask", "none,mask", "mask overlay"}) {
    CHECK_ERROR(Parse({"--save=" + value}), kUsage,
                "--save expects some of class_map, mask, overlay, or none, found \"" + value + "\"");
  }
}

TEST(MissingValuesAreErrors) {
  CHECK_ERROR(Parse({"--threads"}), kUsage, "--threads expects a value: CPU threads of the runtime, 0: it decides");
  CHECK_ERROR(Parse({"--threads", "--loop=3"}), kUsage,
              "--threads expects a value: CPU threads of the runtime, 0: it decides");
}

TEST(RequiredFlags) {
  CHECK_ERROR(ParseFlags({}), kUsage, "--model_path is required; see --help");
  CHECK_ERROR(ParseFlags({"--model_path=m.om"}), kUsage,
              "--dataset_path is required (or --loop=N to only time the model); see --help");
  CHECK_EQUAL(ParseFlags({"--model_path=m.om", "--loop=5"}).loop, 5);
}

TEST(FoldersAndFilesAreChecked) {
  CHECK_ERROR(Parse({"--result_path="}), kUsage, "--result_path and --time_path expect a folder, found \"\"");
  for (const std::string& path : {std::string("/no/such.cfg"), std::string(300, 'x')}) {  // a name that is too long
    CHECK_ERROR(Parse({"--fusion_switch_path=" + path}), kUsage,
                "--fusion_switch_path expects an existing file, found \"" + path + "\"");
  }
  CHECK_ERROR(Parse({"--model_path=a/net.onnx", "--report_json=b/../a/net.json"}), kUsage,
              "--report_json expects a new file, found the model's own \"b/../a/net.json\"");
  CHECK_ERROR(Parse({"--model_path=a/net.onnx", "--report_json=a/net.onnx"}), kUsage,
              "--report_json expects a new file, found the model's own \"a/net.onnx\"");
  CHECK_EQUAL(Parse({"--model_path=a/net.onnx", "--report_json=b/net.json"}).report_json, "b/net.json");
}

}  // namespace
