#include "bounded_queue.h"

#include <atomic>
#include <chrono>
#include <memory>
#include <thread>
#include <vector>

#include "check.h"

namespace {

using infer::BoundedQueue;

TEST(QueueKeepsOrder) {
  BoundedQueue<int> queue(3);
  for (int i = 1; i <= 3; ++i) CHECK(queue.Push(i));
  for (int i = 1; i <= 3; ++i) CHECK_EQUAL(*queue.Pop(), i);
}

TEST(ClosedQueueTakesNothingButGivesWhatItHas) {
  BoundedQueue<int> queue(2);
  queue.Push(1);
  queue.Close();
  CHECK(!queue.Push(2));
  CHECK_EQUAL(*queue.Pop(), 1);
  CHECK(!queue.Pop());
}

TEST(CloseWakesAWaitingPush) {
  BoundedQueue<int> queue(1);
  queue.Push(1);
  std::atomic<int> pushed{-1};
  std::thread producer([&] { pushed = queue.Push(2); });
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  CHECK_EQUAL(pushed.load(), -1);  // full: it waits
  queue.Close();
  producer.join();
  CHECK_EQUAL(pushed.load(), 0);
}

TEST(CloseWakesAWaitingPop) {
  BoundedQueue<int> queue(1);
  std::atomic<bool> got_nothing{false};
  std::thread consumer([&] { got_nothing = !queue.Pop(); });
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  CHECK(!got_nothing);  // empty: it waits
  queue.Close();
  consumer.join();
  CHECK(got_nothing.load());
}

TEST(ManyThreadsLoseAndDoubleNothing) {
  constexpr int kThreads = 3;
  constexpr int kItems = 1000;
  BoundedQueue<std::unique_ptr<int>> queue(4);
  std::atomic<long> sum{0};
  std::vector<std::thread> producers, consumers;
  for (int t = 0; t < kThreads; ++t) {
    producers.emplace_back([&, t] {
      for (int i = 0; i < kItems; ++i) queue.Push(std::make_unique<int>(t * kItems + i));
    });
    consumers.emplace_back([&] {
      while (auto item = queue.Pop()) sum += **item;
    });
  }
  for (auto& thread : producers) thread.join();
  queue.Close();
  for (auto& thread : consumers) thread.join();
  CHECK_EQUAL(sum.load(), 4498500L);  // 0 + 1 + ... + 2999
}

}  // namespace
