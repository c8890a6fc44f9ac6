#ifndef ASCEND310_INFER_TEST_FAKES_ACL_FAKE_H_
#define ASCEND310_INFER_TEST_FAKES_ACL_FAKE_H_

#include <cstdint>
#include <string>
#include <vector>

namespace acl_fake {

// The machine and the model that the fake plays. The model takes float32 scores (batch, classes, pixels) and gives
// the uint8 class of each pixel (batch, pixels); a model file must begin with "OM".
struct Setup {
  uint32_t devices = 1;
  bool program_runs_on_device = false;
  std::vector<int64_t> input_shape = {2, 3, 4};
  size_t open_dimension_bytes = 1;  // 0: the model has an open shape, and sizes of 0 as such models have
};

Setup& TheSetup();

}  // namespace acl_fake

#endif  // ASCEND310_INFER_TEST_FAKES_ACL_FAKE_H_
