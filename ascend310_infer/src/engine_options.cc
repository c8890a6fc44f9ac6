#include "engine_options.h"

#include "error.h"

namespace infer {
namespace {

// The enumerator whose name `word` is.
template <typename Enum, size_t count>
Enum Parse(const std::string& flag, const std::string& word, const Enum (&all)[count]) {
  std::string choices;
  for (Enum value : all) {
    if (word == NameOf(value)) return value;
    choices += (choices.empty() ? "" : ", ") + std::string(NameOf(value));
  }
  throw Error(kUsage, "--" + flag + " expects one of " + choices + ", found \"" + word + "\"");
}

}  // namespace

const char* NameOf(Device device) {
  switch (device) {
    case Device::kAuto:
      return "auto";
    case Device::kAscend:
      return "Ascend";
    case Device::kCpu:
      return "CPU";
  }
  return "";
}

const char* NameOf(Precision precision) {
  switch (precision) {
    case Precision::kAuto:
      return "auto";
    case Precision::kFloat32:
      return "float32";
    case Precision::kFast:
      return "fast";
  }
  return "";
}

Device ParseDevice(const std::string& flag, const std::string& word) {
  constexpr Device kAll[] = {Device::kAuto, Device::kAscend, Device::kCpu};
  return Parse(flag, word, kAll);
}

Precision ParsePrecision(const std::string& flag, const std::string& word) {
  constexpr Precision kAll[] = {Precision::kAuto, Precision::kFloat32, Precision::kFast};
  return Parse(flag, word, kAll);
}

}  // namespace infer
