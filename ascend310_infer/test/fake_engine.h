#ifndef ASCEND310_INFER_TEST_FAKE_ENGINE_H_
#define ASCEND310_INFER_TEST_FAKE_ENGINE_H_

#include <mutex>
#include <string>
#include <vector>

#include "engine.h"
#include "error.h"

// Output j of an image is the sum of the image's bytes plus j, modulo 256. Fails at run number `fail_at` (from 1).
class FakeEngine : public infer::Engine {
 public:
  FakeEngine(int64_t batch, int64_t in, int64_t out, int fail_at = 0) : fail_at(fail_at) {
    inputs = {{"x", {batch, in}, infer::ElementType::kUint8, static_cast<size_t>(batch * in)}};
    outputs = {{"y", {batch, out}, infer::ElementType::kUint8, static_cast<size_t>(batch * out)}};
  }

  std::string Description() const override { return "fake, CPU"; }
  const std::vector<infer::TensorInfo>& Inputs() const override { return inputs; }
  const std::vector<infer::TensorInfo>& Outputs() const override { return outputs; }

  size_t Requests() const override { return requests; }
  std::unique_ptr<infer::Request> NewRequest() override { return std::make_unique<FakeRequest>(this); }

  virtual void Run(const std::vector<infer::ConstTensorView>& in, const std::vector<infer::TensorView>& out) {
    infer::CheckViews(inputs, in);
    infer::CheckViews(outputs, out);
    const std::lock_guard<std::mutex> lock(mutex);
    if (++runs == fail_at) throw infer::Error(infer::kFailed, "fake failure");
    const int64_t batch = inputs[0].shape[0];
    const int64_t in_size = static_cast<int64_t>(inputs[0].bytes) / batch;
    for (int64_t image = 0; image < batch; ++image) {
      unsigned sum = 0;
      const auto* pixels = static_cast<const unsigned char*>(in[0].data) + image * in_size;
      for (int64_t i = 0; i < in_size; ++i) sum += pixels[i];
      sums.push_back(sum);
      for (size_t o = 0; o < out.size(); ++o) {
        const int64_t out_size = static_cast<int64_t>(outputs[o].bytes) / batch;
        auto* result = static_cast<unsigned char*>(out[o].data) + image * out_size;
        for (int64_t j = 0; j < out_size; ++j) result[j] = static_cast<unsigned char>(sum + j);
      }
    }
  }

  std::vector<infer::TensorInfo> inputs;
  std::vector<infer::TensorInfo> outputs;
  std::vector<unsigned> sums;  // of each image that it has seen, padding included
  size_t requests = 1;
  int runs = 0;
  const int fail_at;

 private:
  class FakeRequest : public infer::Request {
   public:
    explicit FakeRequest(FakeEngine* engine) : engine_(*engine) {}
    void Run(const std::vector<infer::ConstTensorView>& in, const std::vector<infer::TensorView>& out) override {
      engine_.Run(in, out);
    }

   private:
    FakeEngine& engine_;
  };
  std::mutex mutex;
};

#endif  // ASCEND310_INFER_TEST_FAKE_ENGINE_H_
