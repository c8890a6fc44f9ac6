#include "pipeline.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <memory>
#include <mutex>
#include <utility>

#include "bounded_queue.h"
#include "error.h"
#include "thread_group.h"

namespace fs = std::filesystem;

namespace infer {
namespace {

// Host memory for the tensors of one run.
struct Batch {
  Batch(Engine* engine, const ImageLayout& layout) {
    Add(engine, layout.batch * layout.input_bytes, &input);
    outputs.resize(layout.output_bytes.size());
    for (size_t i = 0; i < outputs.size(); ++i) Add(engine, layout.batch * layout.output_bytes[i], &outputs[i]);
    samples.reserve(layout.batch);
  }

  void Run(Request* request, RunRecorder* recorder) const {
    recorder->Begin();
    Stopwatch stopwatch;
    request->Run({input}, outputs);
    recorder->End(stopwatch.Lap());
  }

  TensorView input;
  std::vector<TensorView> outputs;
  std::vector<Sample> samples;  // the images in it

 private:
  void Add(Engine* engine, size_t bytes, TensorView* view) {
    memory_.push_back(engine->Allocate(bytes));
    *view = {memory_.back().get(), bytes};
  }
  std::vector<HostMemory> memory_;
};

std::vector<std::unique_ptr<Request>> MakeRequests(Engine* engine, size_t count) {
  std::vector<std::unique_ptr<Request>> requests;
  for (size_t i = 0; i < count; ++i) requests.push_back(engine->NewRequest());
  return requests;
}

// Every request runs `runs` times, all at the same time.
void WarmUp(const std::vector<std::unique_ptr<Request>>& requests, const std::vector<std::unique_ptr<Batch>>& batches,
            int runs) {
  RunRecorder ignored;
  ThreadGroup threads;
  for (size_t i = 0; i < requests.size(); ++i) {
    threads.Start([&, i] {
      for (int run = 0; run < runs; ++run) batches[i]->Run(requests[i].get(), &ignored);
    });
  }
  threads.JoinAndRethrow();
}

std::vector<std::unique_ptr<Batch>> MakeBatches(Engine* engine, const ImageLayout& layout, size_t count) {
  std::vector<std::unique_ptr<Batch>> batches;
  for (size_t i = 0; i < count; ++i) batches.push_back(std::make_unique<Batch>(engine, layout));
  return batches;
}

// The batches go round: free -> readers -> filled -> requests -> done -> writers -> free.
class Pipeline {
 public:
  Pipeline(Engine* engine, const std::vector<fs::path>& inputs, Task* task, const PipelineOptions& options)
      : inputs_(inputs),
        task_(*task),
        layout_(LayoutOf(*engine)),
        batches_to_fill_(std::max<size_t>(1, (inputs.size() + layout_.batch - 1) / layout_.batch)),
        readers_(std::min(options.readers, batches_to_fill_)),
        writers_(std::min(options.writers, batches_to_fill_)),
        warmup_(options.warmup),
        // Each thread holds one, and one more takes up the jitter between them.
        batches_(MakeBatches(engine, layout_, readers_ + UsefulRequests(*engine) + writers_ + 1)),
        requests_(MakeRequests(engine, UsefulRequests(*engine))),
        free_(batches_.size()),
        filled_(batches_.size()),
        done_(batches_.size()),
        readers_left_(readers_),
        requests_left_(requests_.size()) {
    for (const auto& batch : batches_) free_.Push(batch.get());
  }

  PipelineResult Run() {
    WarmUp(requests_, batches_, warmup_);
    Stopwatch stopwatch;
    const ProcessorClock processor;
    ThreadGroup threads([this] {
      free_.Close();
      filled_.Close();
      done_.Close();  // what is in it still gets written
    });
    for (size_t i = 0; i < writers_; ++i) threads.Start([this] { Write(); });
    for (const auto& request : requests_) threads.Start([this, &request] { Infer(request.get()); });
    for (size_t i = 0; i < readers_; ++i) threads.Start([this] { Read(); });
    threads.JoinAndRethrow();
    task_.End();
    result_.timing.seconds_with_io = stopwatch.Lap() / 1000;
    result_.timing.processor_seconds = processor.seconds();
    result_.timing.run_ms = recorder_.run_ms();
    result_.timing.inference_seconds = recorder_.busy_seconds();
    result_.timing.batch = layout_.batch;
    result_.timing.requests = requests_.size();
    result_.timing.images = result_.timing.stages.size();
    std::sort(bad_inputs_.begin(), bad_inputs_.end());
    for (const auto& bad_input : bad_inputs_) result_.bad_inputs.push_back(bad_input.second);
    return std::move(result_);
  }

 private:
  using Queue = BoundedQueue<Batch*>;

  size_t UsefulRequests(const Engine& engine) const { return std::min(engine.Requests(), batches_to_fill_); }

  void Read() {
    while (auto batch = free_.Pop()) {
      Fill(*batch);
      if ((*batch)->samples.empty() || !filled_.Push(*batch)) break;
    }
    const std::lock_guard<std::mutex> lock(mutex_);
    if (--readers_left_ == 0) filled_.Close();
  }

  // Takes as many inputs as fill a batch, so that only the last batch of all is not full; more if some are bad.
  void Fill(Batch* batch) {
    batch->samples.clear();
    for (;;) {
      const auto [begin, end] = TakeInputs(layout_.batch - batch->samples.size());
      if (begin == end) break;
      for (size_t i = begin; i < end; ++i) {
        Sample sample;
        sample.file = &inputs_[i];
        sample.index = i;
        try {
          task_.Prepare(&sample, ImageOf(batch->input, batch->samples.size(), layout_.input_bytes));
          batch->samples.push_back(std::move(sample));
        } catch (const Error& error) {
          NoteOrRethrow(i, error);
        }
      }
    }
    for (size_t i = batch->samples.size(); i < layout_.batch; ++i) {
      const TensorView padding = ImageOf(batch->input, i, layout_.input_bytes);
      std::memset(padding.data, 0, padding.bytes);
    }
  }

  // The numbers [begin, end) of the next inputs, at most `count`.
  std::pair<size_t, size_t> TakeInputs(size_t count) {
    const std::lock_guard<std::mutex> lock(mutex_);
    const size_t begin = next_input_;
    next_input_ = std::min(inputs_.size(), begin + count);
    return {begin, next_input_};
  }

  void NoteOrRethrow(size_t index, const Error& error) {
    if (error.exit_code() != kBadInput) throw;
    const std::lock_guard<std::mutex> lock(mutex_);
    bad_inputs_.emplace_back(index, error.what());
  }

  void Infer(Request* request) {
    while (auto batch = filled_.Pop()) {
      (*batch)->Run(request, &recorder_);
      if (!done_.Push(*batch)) return;
    }
    const std::lock_guard<std::mutex> lock(mutex_);
    if (--requests_left_ == 0) done_.Close();
  }

  void Write() {
    while (auto batch = done_.Pop()) {
      for (size_t i = 0; i < (*batch)->samples.size(); ++i) {
        std::vector<ConstTensorView> outputs;
        for (size_t output = 0; output < layout_.output_bytes.size(); ++output) {
          outputs.push_back(ImageOf((*batch)->outputs[output], i, layout_.output_bytes[output]));
        }
        Sample& sample = (*batch)->samples[i];
        try {
          task_.Finish(&sample, outputs);
        } catch (const Error& error) {
          NoteOrRethrow(sample.index, error);
        }
        // Also without a label: the model has run, and mostly the results are written.
        const std::lock_guard<std::mutex> lock(mutex_);
        result_.timing.stages.push_back(sample.times);
      }
      free_.Push(*batch);
    }
  }

  const std::vector<fs::path>& inputs_;
  Task& task_;
  const ImageLayout layout_;
  const size_t batches_to_fill_;
  const size_t readers_, writers_;
  const int warmup_;
  const std::vector<std::unique_ptr<Batch>> batches_;  // longer alive than the requests that use their memory
  const std::vector<std::unique_ptr<Request>> requests_;
  Queue free_, filled_, done_;
  RunRecorder recorder_;

  std::mutex mutex_;  // of what follows
  size_t next_input_ = 0;
  size_t readers_left_, requests_left_;
  std::vector<std::pair<size_t, std::string>> bad_inputs_;  // with the number of the input
  PipelineResult result_;
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

PipelineResult RunPipeline(Engine* engine, const std::vector<fs::path>& inputs, Task* task,
                           const PipelineOptions& options) {
  return Pipeline(engine, inputs, task, options).Run();
}

Timing TimeRuns(Engine* engine, int warmup, int runs) {
  const ImageLayout layout = LayoutOf(*engine);
  const auto batches = MakeBatches(engine, layout, engine->Requests());
  const auto requests = MakeRequests(engine, engine->Requests());
  WarmUp(requests, batches, warmup);

  RunRecorder recorder;
  const ProcessorClock processor;
  std::atomic<int> left = runs;
  ThreadGroup threads([&left] { left = 0; });
  for (size_t i = 0; i < requests.size(); ++i) {
    threads.Start([&, i] {
      while (left-- > 0) batches[i]->Run(requests[i].get(), &recorder);
    });
  }
  threads.JoinAndRethrow();
  Timing timing;
  timing.run_ms = recorder.run_ms();
  timing.batch = layout.batch;
  timing.requests = requests.size();
  timing.images = layout.batch * timing.run_ms.size();
  timing.inference_seconds = recorder.busy_seconds();
  timing.processor_seconds = processor.seconds();
  return timing;
}

}  // namespace infer
