#include "files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cctype>
#include <cerrno>
#include <random>
#include <string>
#include <system_error>

#include "error.h"

namespace fs = std::filesystem;

namespace infer {
namespace {

std::string Reason(int error_number) { return std::generic_category().message(error_number); }

// Different for each call. Not the process id: containers that share a folder may share it too.
std::string UniqueText() {
  static const unsigned process = std::random_device()();
  static std::atomic<unsigned> calls{0};
  return std::to_string(process) + "-" + std::to_string(calls++);
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

// A regular file, open for reading. What goes wrong is an Error(kBadInput) that names the file.
class OpenFile {
 public:
  // Without O_NONBLOCK, opening a named pipe would wait for a writer.
  explicit OpenFile(const fs::path& path) : path_(path), descriptor_(path, O_RDONLY | O_NONBLOCK) {
    struct stat status;
    if (!descriptor_.ok() || ::fstat(descriptor_.get(), &status) != 0) Fail("cannot be read: " + Reason(errno));
    if (!S_ISREG(status.st_mode)) Fail("is not a regular file");
    size_ = static_cast<size_t>(status.st_size);
  }
  size_t size() const { return size_; }

  // Returns the bytes read, fewer than asked for only at the end of the file.
  size_t Read(char* data, size_t bytes) const {
    const size_t found = MoveAll(::read, descriptor_.get(), data, bytes);
    if (found < bytes && errno != 0) Fail("cannot be read: " + Reason(errno));
    return found;
  }

 private:
  [[noreturn]] void Fail(const std::string& what) const { throw Error(kBadInput, path_.string() + ": " + what); }

  const fs::path& path_;
  const Descriptor descriptor_;
  size_t size_ = 0;
};

}  // namespace

bool IsHidden(const fs::path& path) { return path.filename().string().rfind('.', 0) == 0; }

std::string SuffixOf(const fs::path& path) {
  std::string suffix = path.extension().string();
  std::transform(suffix.begin(), suffix.end(), suffix.begin(), [](unsigned char c) { return std::tolower(c); });
  return suffix;
}

FolderContent FilesBelow(const fs::path& folder, std::set<fs::path> closed) {
  FolderContent content;
  std::error_code error, ignored;
  closed.insert(fs::canonical(folder, ignored));  // a link that leads back up would give each file forty times
  fs::recursive_directory_iterator entry(folder, fs::directory_options::follow_directory_symlink, error);
  for (; !error && entry != fs::recursive_directory_iterator(); entry.increment(error)) {
    const fs::path& path = entry->path();
    if (!entry->is_directory(ignored)) {
      if (!IsHidden(path)) content.files.push_back(path);
    } else if (IsHidden(path) || !closed.insert(fs::canonical(path, ignored)).second) {
      entry.disable_recursion_pending();
    } else if (::access(path.c_str(), R_OK | X_OK) != 0) {
      content.unreadable.emplace_back(path, std::error_code(errno, std::generic_category()));
      entry.disable_recursion_pending();
    }
  }
  if (error) content.unreadable.emplace_back(folder, error);
  return content;
}

void ReadExactly(const fs::path& file, const TensorView& data) {
  const OpenFile open(file);
  size_t found = open.size();
  if (found == data.bytes) found = open.Read(static_cast<char*>(data.data), data.bytes);
  if (found != data.bytes) {
    throw Error(kBadInput, file.string() + ": expected " + std::to_string(data.bytes) + " bytes, found " +
                               std::to_string(found) + "; was it preprocessed for this model's input size and type?");
  }
}

std::string ReadUpTo(const fs::path& file, size_t most) {
  const OpenFile open(file);
  if (open.size() > most) {
    throw Error(kBadInput, file.string() + ": has " + std::to_string(open.size()) + " bytes, expected at most " +
                               std::to_string(most));
  }
  std::string content(open.size(), '\0');
  content.resize(open.Read(content.data(), content.size()));
  return content;
}

void PrepareFolder(const fs::path& folder) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (!error && ::access(folder.c_str(), W_OK | X_OK) != 0) error.assign(errno, std::generic_category());
  if (error) throw Error(kFailed, "cannot write into the folder " + folder.string() + ": " + error.message());
}

void PrepareFile(const fs::path& file) {
  PrepareFolder(file.has_parent_path() ? file.parent_path() : ".");
  std::error_code error;
  const fs::file_status status = fs::status(file, error);
  if (!fs::exists(status)) return;
  if (!fs::is_regular_file(status)) {
    throw Error(kFailed,
                "cannot write " + file.string() + ": expected a file of that name or none, found something else");
  }
  fs::remove(file, error);
  if (error) throw Error(kFailed, "cannot replace " + file.string() + ": " + error.message());
}

void WriteAtomically(const fs::path& file, const ConstTensorView& data) {
  // Only the end of a long name, because a file system limits the whole to 255 bytes.
  const std::string name = file.filename().string();
  const std::string end = name.substr(name.size() - std::min<size_t>(name.size(), 50));
  const fs::path temporary = file.parent_path() / (".tmp-" + UniqueText() + "-" + end);
  const auto fail = [&](int error_number) {
    ::unlink(temporary.c_str());
    // A name that is too long is the input's, and says nothing about the next one.
    throw Error(error_number == ENAMETOOLONG ? kBadInput : kFailed,
                "cannot write " + file.string() + ": " + Reason(error_number));
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
