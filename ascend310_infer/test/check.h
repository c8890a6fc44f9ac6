#ifndef ASCEND310_INFER_TEST_CHECK_H_
#define ASCEND310_INFER_TEST_CHECK_H_

// The little that the tests need of a test framework: TEST(Name) { CHECK... }, and RunTests() as the body of main.

#include <cstdio>
#include <exception>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "error.h"

namespace check {

struct Test {
  const char* name;
  void (*body)();
};

inline std::vector<Test>& Tests() {
  static std::vector<Test> tests;
  return tests;
}

struct Register {
  Register(const char* name, void (*body)()) { Tests().push_back({name, body}); }
};

[[noreturn]] inline void Fail(const char* file, int line, const std::string& what) {
  throw std::logic_error(std::string(file) + ":" + std::to_string(line) + ": " + what);
}

template <typename A, typename B>
void Equal(const char* file, int line, const A& found, const B& expected) {
  if (found == expected) return;
  std::ostringstream text;
  text << "expected " << expected << ", found " << found;
  Fail(file, line, text.str());
}

// Runs `action`, which must throw an infer::Error, and returns that.
template <typename Action>
infer::Error ErrorOf(const char* file, int line, Action action) {
  try {
    action();
  } catch (const infer::Error& error) {
    return error;
  }
  Fail(file, line, "expected an Error, found none");
}

inline int RunTests() {
  int failed = 0;
  for (const Test& test : Tests()) {
    try {
      test.body();
      std::printf("ok      %s\n", test.name);
    } catch (const std::exception& error) {
      std::printf("FAILED  %s\n        %s\n", test.name, error.what());
      ++failed;
    }
  }
  std::printf("%zu tests, %d failed\n", Tests().size(), failed);
  return failed == 0 ? 0 : 1;
}

}  // namespace check

#define TEST(name)                                            \
  static void name();                                         \
  static const check::Register register_##name(#name, &name); \
  static void name()

#define CHECK(condition) \
  if (!(condition)) check::Fail(__FILE__, __LINE__, "not true: " #condition)

#define CHECK_EQUAL(found, expected) check::Equal(__FILE__, __LINE__, found, expected)

// `code` must throw an infer::Error with that exit code and this message.
#define CHECK_ERROR(code, exit_code_, message)                                                            \
  do {                                                                                                    \
    const infer::Error error_ = check::ErrorOf(__FILE__, __LINE__, [&] { code; });                        \
    check::Equal(__FILE__, __LINE__, std::string(error_.what()), std::string(message));                   \
    check::Equal(__FILE__, __LINE__, static_cast<int>(error_.exit_code()), static_cast<int>(exit_code_)); \
  } while (false)

#endif  // ASCEND310_INFER_TEST_CHECK_H_
