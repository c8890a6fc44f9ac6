#ifndef ASCEND310_INFER_BOUNDED_QUEUE_H_
#define ASCEND310_INFER_BOUNDED_QUEUE_H_

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <mutex>
#include <optional>
#include <utility>

namespace infer {

// A first-in first-out queue between threads that holds at most `capacity` items. After Close() nothing more goes in,
// what is inside still comes out, and nobody waits any longer.
template <typename T>
class BoundedQueue {
 public:
  explicit BoundedQueue(size_t capacity) : capacity_(capacity) {}

  // Waits for room. Returns false, without the item, if the queue is closed.
  bool Push(T item) {
    std::unique_lock<std::mutex> lock(mutex_);
    room_.wait(lock, [this] { return closed_ || items_.size() < capacity_; });
    if (closed_) return false;
    items_.push_back(std::move(item));
    items_waiting_.notify_one();
    return true;
  }

  // Waits for an item. Returns nothing if the queue is closed and empty.
  std::optional<T> Pop() {
    std::unique_lock<std::mutex> lock(mutex_);
    items_waiting_.wait(lock, [this] { return closed_ || !items_.empty(); });
    if (items_.empty()) return std::nullopt;
    T item = std::move(items_.front());
    items_.pop_front();
    room_.notify_one();
    return item;
  }

  void Close() {
    std::lock_guard<std::mutex> lock(mutex_);
    closed_ = true;
    room_.notify_all();
    items_waiting_.notify_all();
  }

 private:
  const size_t capacity_;
  std::mutex mutex_;
  std::condition_variable room_;
  std::condition_variable items_waiting_;
  std::deque<T> items_;
  bool closed_ = false;
};

}  // namespace infer

#endif  // ASCEND310_INFER_BOUNDED_QUEUE_H_
