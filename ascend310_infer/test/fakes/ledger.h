#ifndef ASCEND310_INFER_TEST_FAKES_LEDGER_H_
#define ASCEND310_INFER_TEST_FAKES_LEDGER_H_

// What the fakes of MindSpore Lite and AscendCL share: they note what is acquired and released and every use that
// breaks the library's contract, and they let a test make any one call fail.

#include <map>
#include <mutex>
#include <sstream>
#include <string>
#include <vector>

namespace ledger {

struct Ledger {
  int calls = 0;                            // that may fail, so far
  int fail_call = 0;                        // number of the call that fails; 0: none
  std::string failed;                       // name of the call that was made to fail
  std::map<const void*, std::string> live;  // what has been acquired and not yet released
  std::vector<std::string> problems;
};

inline Ledger& TheLedger() {
  static Ledger ledger;
  return ledger;
}

// Requests run in threads of their own.
inline std::unique_lock<std::recursive_mutex> Lock() {
  static std::recursive_mutex mutex;
  return std::unique_lock<std::recursive_mutex>(mutex);
}

inline void Reset(int fail_call = 0) {
  const auto lock = Lock();
  TheLedger() = Ledger();
  TheLedger().fail_call = fail_call;
}

// At the start of each call that may fail: whether this one is to.
inline bool Fails(const std::string& call) {
  const auto lock = Lock();
  Ledger& ledger = TheLedger();
  if (++ledger.calls != ledger.fail_call) return false;
  ledger.failed = call;
  return true;
}

// The contract: a condition that every correct use fulfils.
inline bool Expect(bool condition, const std::string& rule) {
  const auto lock = Lock();
  if (!condition) TheLedger().problems.push_back(rule);
  return condition;
}

inline bool IsLive(const void* thing, const std::string& kind) {
  const auto lock = Lock();
  const auto found = TheLedger().live.find(thing);
  return found != TheLedger().live.end() && found->second == kind;
}

inline bool AnyLive(const std::string& kind) {
  const auto lock = Lock();
  for (const auto& entry : TheLedger().live) {
    if (entry.second == kind) return true;
  }
  return false;
}

inline void Acquire(const void* thing, const std::string& kind) {
  const auto lock = Lock();
  TheLedger().live[thing] = kind;
}

inline bool Release(const void* thing, const std::string& kind) {
  const auto lock = Lock();
  if (!Expect(IsLive(thing, kind), kind + " released that is not held")) return false;
  TheLedger().live.erase(thing);
  return true;
}

// Empty if the contract was kept and nothing is held any more.
inline std::string Problems() {
  const auto lock = Lock();
  std::ostringstream text;
  for (const auto& problem : TheLedger().problems) text << problem << "\n";
  for (const auto& entry : TheLedger().live) text << entry.second << " was never released\n";
  return text.str();
}

}  // namespace ledger

#endif  // ASCEND310_INFER_TEST_FAKES_LEDGER_H_
