#ifndef ASCEND310_INFER_ENGINE_OPTIONS_H_
#define ASCEND310_INFER_ENGINE_OPTIONS_H_

#include <cstdint>
#include <string>
#include <vector>

namespace infer {

enum class Device { kAuto, kAscend, kCpu };
enum class Precision { kAuto, kFloat32, kFast };

// The words of the command line: "auto", "Ascend", "CPU"; "auto", "float32", "fast".
const char* NameOf(Device device);
const char* NameOf(Precision precision);

// The reverse, case-sensitive. Throws Error(kUsage) that names the flag and its choices.
Device ParseDevice(const std::string& flag, const std::string& word);
Precision ParsePrecision(const std::string& flag, const std::string& word);

struct EngineOptions {
  std::string model_path;
  Device device = Device::kAuto;
  Precision precision = Precision::kAuto;
  std::string fusion_switch_path;  // Ascend graph fusion switches; empty: none
  int device_id = 0;
  int threads = 0;                   // of the CPU; 0: the runtime decides
  int requests = 0;                  // in flight at the same time; 0: as the runtime and device suggest
  std::vector<int64_t> input_shape;  // for the dimensions that the model leaves open; empty: they stay open
};

}  // namespace infer

#endif  // ASCEND310_INFER_ENGINE_OPTIONS_H_
