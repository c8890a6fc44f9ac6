#include "pipeline.h"

#include <chrono>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <memory>
#include <mutex>
#include <new>
#include <thread>

#include "bounded_queue.h"
#include "error.h"
#include "files.h"

namespace fs = std::filesystem;

namespace infer {
namespace {

using Clock = std::chrono::steady_clock;

// One batch is being read, one is in the model, one is being written, and one takes up the jitter between them.
constexpr size_t kBatchesInFlight = 4;
constexpr size_t kPageBytes = 4096;

// Memory that begins on a page, which runtimes can use without copying it first.
class Buffer {
 public:
  explicit Buffer(size_t bytes)
      : data_(static_cast<char*>(std::aligned_alloc(kPageBytes, (bytes / kPageBytes + 1) * kPageBytes)), &std::free) {
    if (data_ == nullptr) throw std::bad_alloc();
    std::memset(data_.get(), 0, bytes);
  }
  char* get() const { return data_.get(); }

 private:
  std::unique_ptr<char, decltype(&std::free)> data_;
};

struct Batch {
  explicit Batch(const ImageLayout& layout) : input(layout.batch * layout.input_bytes) {
    for (size_t bytes : layout.output_bytes) outputs.emplace_back(layout.batch * bytes);
    images.reserve(layout.batch);
  }
  Buffer input;
  std::vector<Buffer> outputs;
  std::vector<const fs::path*> images;  // the input files it was filled from
};

double RunOnce(Engine* engine, const Batch& batch) {
  std::vector<void*> outputs;
  for (const Buffer& output : batch.outputs) outputs.push_back(output.get());
  const auto start = Clock::now();
  engine->Run({batch.input.get()}, outputs);
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

// The batches go round: free -> reader -> filled -> inference -> done -> writer -> free.
class Pipeline {
 public:
  Pipeline(Engine* engine, const std::vector<fs::path>& inputs, const fs::path& result_folder)
      : engine_(engine), inputs_(inputs), result_folder_(result_folder), layout_(LayoutOf(*engine)) {
    for (size_t i = 0; i < kBatchesInFlight; ++i) free_.Push(std::make_unique<Batch>(layout_));
  }

  PipelineResult Run() {
    result_.timing.batch = layout_.batch;
    const auto start = Clock::now();
    {
      const Stage writer(this, &Pipeline::Write);
      const Stage reader(this, &Pipeline::Read);
      Guard(&Pipeline::Infer);
    }
    if (error_) std::rethrow_exception(error_);
    SyncFolder(result_folder_);
    result_.timing.seconds_with_io = std::chrono::duration<double>(Clock::now() - start).count();
    return std::move(result_);
  }

 private:
  using Queue = BoundedQueue<std::unique_ptr<Batch>>;

  // A thread that has ended when the object is gone.
  class Stage {
   public:
    Stage(Pipeline* pipeline, void (Pipeline::*work)())
        : pipeline_(pipeline), thread_([=] { pipeline->Guard(work); }) {}
    ~Stage() {
      pipeline_->CloseQueues();  // inference is over, well or not: what is done gets written, nothing new starts
      thread_.join();
    }

   private:
    Pipeline* pipeline_;
    std::thread thread_;
  };

  // Runs a stage; its error, if the first, becomes that of the pipeline and makes the other stages end.
  void Guard(void (Pipeline::*work)()) {
    try {
      (this->*work)();
    } catch (...) {
      {
        std::lock_guard<std::mutex> lock(error_mutex_);
        if (!error_) error_ = std::current_exception();
      }
      CloseQueues();
    }
  }

  void CloseQueues() {
    free_.Close();
    filled_.Close();
    done_.Close();
  }

  void Read() {
    std::unique_ptr<Batch> batch;
    for (const fs::path& input : inputs_) {
      if (!batch) {
        auto next = free_.Pop();
        if (!next) return;
        batch = std::move(*next);
        batch->images.clear();
      }
      try {
        ReadExactly(input, batch->input.get() + batch->images.size() * layout_.input_bytes, layout_.input_bytes);
        batch->images.push_back(&input);
      } catch (const Error& error) {
        result_.bad_inputs.push_back(error.what());
      }
      if (batch->images.size() == layout_.batch && !filled_.Push(std::move(batch))) return;
    }
    if (batch && !batch->images.empty()) {
      const size_t used = batch->images.size();
      std::memset(batch->input.get() + used * layout_.input_bytes, 0, (layout_.batch - used) * layout_.input_bytes);
      filled_.Push(std::move(batch));
    }
    filled_.Close();
  }

  void Infer() {
    while (auto batch = filled_.Pop()) {
      const double milliseconds = RunOnce(engine_, **batch);
      result_.timing.run_ms.push_back(milliseconds);
      result_.timing.images += (*batch)->images.size();
      if (!done_.Push(std::move(*batch))) return;
    }
  }

  void Write() {
    while (auto batch = done_.Pop()) {
      for (size_t output = 0; output < layout_.output_bytes.size(); ++output) {
        const size_t bytes = layout_.output_bytes[output];
        for (size_t i = 0; i < (*batch)->images.size(); ++i) {
          const fs::path file = result_folder_ / ResultName(*(*batch)->images[i], output);
          WriteWhole(file, (*batch)->outputs[output].get() + i * bytes, bytes);
        }
      }
      free_.Push(std::move(*batch));
    }
  }

  Engine* const engine_;
  const std::vector<fs::path>& inputs_;
  const fs::path& result_folder_;
  const ImageLayout layout_;
  Queue free_{kBatchesInFlight};
  Queue filled_{kBatchesInFlight};
  Queue done_{kBatchesInFlight};
  PipelineResult result_;  // bad_inputs belongs to the reader, timing to the inference, until the threads have ended
  std::mutex error_mutex_;
  std::exception_ptr error_;
};

}  // namespace

ImageLayout LayoutOf(const Engine& engine) {
  const auto fail = [](const std::string& what) {
    throw Error(kFailed, "the model does not fit this program: " + what);
  };
  if (engine.Inputs().size() != 1) fail("expected 1 input, found " + std::to_string(engine.Inputs().size()));
  if (engine.Outputs().empty()) fail("it has no output");
  const auto check = [&](const std::string& kind, const TensorInfo& tensor) {
    const std::string found = kind + " \"" + tensor.name + "\" is " + Describe(tensor);
    for (int64_t dimension : tensor.shape) {
      if (dimension <= 0) fail(found + "; export it with a fixed batch, height and width");
    }
    if (tensor.shape.empty() || tensor.bytes == 0) fail(found + "; expected a batch of images");
    const size_t batch = static_cast<size_t>(engine.Inputs()[0].shape[0]);
    if (static_cast<size_t>(tensor.shape[0]) != batch || tensor.bytes % batch != 0) {
      fail(found + "; expected a first dimension of " + std::to_string(batch) + ", the batch of the input");
    }
    return tensor.bytes / batch;
  };
  ImageLayout layout;
  layout.input_bytes = check("input", engine.Inputs()[0]);
  for (const TensorInfo& output : engine.Outputs()) layout.output_bytes.push_back(check("output", output));
  layout.batch = static_cast<size_t>(engine.Inputs()[0].shape[0]);
  return layout;
}

PipelineResult RunPipeline(Engine* engine, const std::vector<fs::path>& inputs, const fs::path& result_folder) {
  return Pipeline(engine, inputs, result_folder).Run();
}

Timing TimeRuns(Engine* engine, int warmup, int runs) {
  const ImageLayout layout = LayoutOf(*engine);
  const Batch batch(layout);
  for (int i = 0; i < warmup; ++i) RunOnce(engine, batch);
  Timing timing;
  timing.batch = layout.batch;
  for (int i = 0; i < runs; ++i) timing.run_ms.push_back(RunOnce(engine, batch));
  timing.images = layout.batch * timing.run_ms.size();
  return timing;
}

}  // namespace infer
