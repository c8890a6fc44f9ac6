#ifndef ASCEND310_INFER_THREAD_GROUP_H_
#define ASCEND310_INFER_THREAD_GROUP_H_

#include <exception>
#include <functional>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

namespace infer {

// Threads whose first error is kept. After an error `stop` is called, which must make the other threads end
// if they would not end by themselves.
class ThreadGroup {
 public:
  explicit ThreadGroup(std::function<void()> stop = [] {}) : stop_(std::move(stop)) {}
  ThreadGroup(const ThreadGroup&) = delete;
  ThreadGroup& operator=(const ThreadGroup&) = delete;
  ~ThreadGroup() {
    if (threads_.empty()) return;
    stop_();  // on the way out after an exception, such as a thread that could not be made
    Join();
  }

  void Start(std::function<void()> work) {
    threads_.emplace_back([this, work = std::move(work)] {
      try {
        work();
      } catch (...) {
        const std::lock_guard<std::mutex> lock(mutex_);
        if (!error_) error_ = std::current_exception();
        stop_();
      }
    });
  }

  void JoinAndRethrow() {
    Join();
    if (error_) std::rethrow_exception(error_);
  }

 private:
  void Join() {
    for (std::thread& thread : threads_) thread.join();
    threads_.clear();
  }

  const std::function<void()> stop_;
  std::vector<std::thread> threads_;
  std::mutex mutex_;
  std::exception_ptr error_;
};

}  // namespace infer

#endif  // ASCEND310_INFER_THREAD_GROUP_H_
