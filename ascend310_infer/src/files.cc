#include "files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string>
#include <system_error>

#include "error.h"

namespace fs = std::filesystem;

namespace infer {
namespace {

constexpr char kInputSuffix[] = "_img.bin";

std::string Reason(int error_number) { return std::generic_category().message(error_number); }

bool EndsWith(const std::string& text, const std::string& end) {
  return text.size() >= end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
}

class Descriptor {
 public:
  Descriptor(const fs::path& path, int flags) : descriptor_(::open(path.c_str(), flags | O_CLOEXEC, 0666)) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() {
    if (descriptor_ >= 0) ::close(descriptor_);
  }
  bool ok() const { return descriptor_ >= 0; }
  int get() const { return descriptor_; }

 private:
  const int descriptor_;
};

// read(2) and write(2) may stop early or be interrupted. Returns the bytes moved; fewer than `bytes` at the end of the
// file, or on an error, which errno then tells (0: none).
template <typename Move, typename Byte>
size_t MoveAll(Move move, int descriptor, Byte* data, size_t bytes) {
  size_t done = 0;
  errno = 0;
  while (done < bytes) {
    const ssize_t moved = move(descriptor, data + done, bytes - done);
    if (moved < 0 && errno == EINTR) continue;
    if (moved <= 0) break;
    done += static_cast<size_t>(moved);
  }
  if (done == bytes) errno = 0;
  return done;
}

}  // namespace

std::vector<fs::path> ListInputs(const fs::path& folder) {
  std::vector<fs::path> inputs;
  std::error_code error;
  fs::directory_iterator entry(folder, error);
  for (; !error && entry != fs::directory_iterator(); entry.increment(error)) {
    if (EndsWith(entry->path().filename().string(), kInputSuffix)) inputs.push_back(entry->path());
  }
  if (error) {
    throw Error(kBadInput, "cannot read the dataset folder " + folder.string() + ": " + error.message());
  }
  if (inputs.empty()) {
    throw Error(kBadInput, "no *" + std::string(kInputSuffix) + " file in " + folder.string() +
                               "; preprocess.py writes them, give its img_data folder as --dataset_path");
  }
  std::sort(inputs.begin(), inputs.end());
  return inputs;
}

void ReadExactly(const fs::path& file, const TensorView& data) {
  const size_t bytes = data.bytes;
  const auto fail = [&](const std::string& what) { throw Error(kBadInput, file.string() + ": " + what); };
  // Without O_NONBLOCK, opening a named pipe would wait for a writer.
  const Descriptor descriptor(file, O_RDONLY | O_NONBLOCK);
  if (!descriptor.ok()) fail("cannot be read: " + Reason(errno));
  struct stat status;
  if (::fstat(descriptor.get(), &status) != 0) fail("cannot be read: " + Reason(errno));
  if (!S_ISREG(status.st_mode)) fail("is not a regular file");
  size_t found = static_cast<size_t>(status.st_size);
  if (found == bytes) {
    found = MoveAll(::read, descriptor.get(), static_cast<char*>(data.data), bytes);
    if (found < bytes && errno != 0) fail("cannot be read: " + Reason(errno));
  }
  if (found != bytes) {
    fail("expected " + std::to_string(bytes) + " bytes, found " + std::to_string(found) +
         "; was it preprocessed for this model's input size and type?");
  }
}

void PrepareFolder(const fs::path& folder) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (!error && ::access(folder.c_str(), W_OK | X_OK) != 0) error.assign(errno, std::generic_category());
  if (error) throw Error(kFailed, "cannot write into the folder " + folder.string() + ": " + error.message());
}

void WriteAtomically(const fs::path& file, const ConstTensorView& data) {
  // Only the end of a long name, because a file system limits the whole to 255 bytes.
  const std::string name = file.filename().string();
  const std::string end = name.substr(name.size() - std::min<size_t>(name.size(), 50));
  const fs::path temporary = file.parent_path() / (".tmp-" + std::to_string(::getpid()) + "-" + end);
  const auto fail = [&](int error_number) {
    ::unlink(temporary.c_str());
    throw Error(kFailed, "cannot write " + file.string() + ": " + Reason(error_number));
  };
  {
    const Descriptor descriptor(temporary, O_WRONLY | O_CREAT | O_TRUNC);
    if (!descriptor.ok()) fail(errno);
    const char* bytes = static_cast<const char*>(data.data);
    if (MoveAll(::write, descriptor.get(), bytes, data.bytes) != data.bytes) fail(errno);
    if (::fsync(descriptor.get()) != 0) fail(errno);
  }
  if (::rename(temporary.c_str(), file.c_str()) != 0) fail(errno);
}

void SyncFolder(const fs::path& folder) {
  const Descriptor descriptor(folder, O_RDONLY | O_DIRECTORY);
  if (descriptor.ok()) ::fsync(descriptor.get());
}

}  // namespace infer
