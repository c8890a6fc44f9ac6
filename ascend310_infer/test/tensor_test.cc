#include "tensor.h"

#include <stdexcept>

#include "check.h"
#include "engine.h"
#include "engine_options.h"

namespace {

using infer::ElementType;
using infer::kFailed;

TEST(ElementTypesHaveNamesAndSizes) {
  CHECK_EQUAL(infer::NameOf(ElementType::kUint8), std::string("uint8"));
  CHECK_EQUAL(infer::NameOf(ElementType::kFloat16), std::string("float16"));
  CHECK_EQUAL(infer::NameOf(ElementType::kUnknown), std::string("an unknown type"));
  CHECK_EQUAL(infer::SizeOf(ElementType::kInt64), size_t{8});
  CHECK_EQUAL(infer::SizeOf(ElementType::kFloat32), size_t{4});
  CHECK_EQUAL(infer::SizeOf(ElementType::kUnknown), size_t{0});
}

TEST(TensorsAreDescribed) {
  CHECK_EQUAL(infer::Describe({"x", {1, 3, -1}, ElementType::kFloat32, 0}), "float32 [1, 3, -1]");
  CHECK_EQUAL(infer::Describe({"x", {}, ElementType::kInt32, 4}), "int32 []");
}

TEST(ImagesOfABatchStayInside) {
  char memory[12];
  const infer::TensorView batch{memory, sizeof(memory)};
  CHECK(infer::ImageOf(batch, 2, 4).data == memory + 8);
  CHECK_EQUAL(infer::ImageOf(batch, 2, 4).bytes, size_t{4});
  bool thrown = false;
  try {
    infer::ImageOf(batch, 3, 4);
  } catch (const std::out_of_range&) {
    thrown = true;
  }
  CHECK(thrown);
}

TEST(ViewsAreCheckedAgainstTensors) {
  const std::vector<infer::TensorInfo> tensors = {{"x", {1, 4}, ElementType::kUint8, 4}};
  char memory[4];
  infer::CheckViews(tensors, std::vector<infer::TensorView>{{memory, 4}});
  CHECK_ERROR(infer::CheckViews(tensors, std::vector<infer::TensorView>{{memory, 3}}), kFailed,
              "tensor \"x\" needs 4 bytes, found a buffer of 3");
  CHECK_ERROR(infer::CheckViews(tensors, std::vector<infer::TensorView>{}), kFailed,
              "the model has 1 such tensors, found 0 buffers");
}

TEST(OptionsAreNamedAsOnTheCommandLine) {
  for (const char* word : {"auto", "Ascend", "CPU"}) {
    CHECK_EQUAL(infer::NameOf(infer::ParseDevice("device_type", word)), std::string(word));
  }
  for (const char* word : {"auto", "float32", "fast"}) {
    CHECK_EQUAL(infer::NameOf(infer::ParsePrecision("precision", word)), std::string(word));
  }
}

}  // namespace
