#ifndef ASCEND310_INFER_ERROR_H_
#define ASCEND310_INFER_ERROR_H_

#include <stdexcept>
#include <string>

namespace infer {

// Exit codes of the program, the same as those of the Python programs around it.
enum ExitCode {
  kDone = 0,
  kFailed = 1,    // model, device, disk or anything else
  kUsage = 2,     // wrong flag or combination of flags
  kBadInput = 3,  // bad input data; results of the good inputs are kept
};

// Everything that can go wrong is thrown as an Error: one line that says what was expected, what was found and what to
// do, and the exit code of its kind.
class Error : public std::runtime_error {
 public:
  Error(ExitCode exit_code, const std::string& message) : std::runtime_error(message), exit_code_(exit_code) {}
  ExitCode exit_code() const { return exit_code_; }

 private:
  ExitCode exit_code_;
};

// What a runtime says about an error, often over many lines, as one line of bearable length.
inline std::string OneLine(const std::string& text) {
  constexpr size_t kLongest = 400;
  std::string line;
  for (char c : text) {
    const bool space = static_cast<unsigned char>(c) <= ' ' || c == 0x7f;  // no commands for the terminal either
    if (!space) line += c;
    if (space && !line.empty() && line.back() != ' ') line += ' ';
  }
  return line.size() <= kLongest ? line : line.substr(0, kLongest) + "...";
}

}  // namespace infer

#endif  // ASCEND310_INFER_ERROR_H_
