#ifndef ASCEND310_INFER_TEST_FAKES_MINDSPORE_LITE_FAKE_H_
#define ASCEND310_INFER_TEST_FAKES_MINDSPORE_LITE_FAKE_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace lite_fake {

// The model that the fake plays: it takes float32 scores (batch, classes, pixels) and gives the uint8 class of each
// pixel (batch, pixels). A model file must begin with "MINDIR".
struct Setup {
  std::vector<int64_t> input_shape = {2, 3, 4};
  int input_type = 43;    // mindspore::DataType::kNumberTypeFloat32
  int outputs_lost = 0;   // outputs that Predict leaves out
  size_t bytes_lost = 0;  // bytes that Predict leaves out of its output
};

Setup& TheSetup();

// What the last Build was asked for: "Ascend 1, precision enforce_fp32, fusion f.cfg, MindIR".
std::string& LastBuild();

}  // namespace lite_fake

#endif  // ASCEND310_INFER_TEST_FAKES_MINDSPORE_LITE_FAKE_H_
