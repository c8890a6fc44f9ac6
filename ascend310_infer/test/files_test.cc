#include "files.h"

#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <cstring>
#include <random>

#include "check.h"
#include "temporary_folder.h"
#include "thread_group.h"

namespace fs = std::filesystem;

namespace {

using infer::kBadInput;
using infer::kFailed;

std::string Read(const fs::path& file, size_t bytes) {
  std::string data(bytes, '?');
  infer::ReadExactly(file, {data.data(), bytes});
  return data;
}

std::string Mismatch(const fs::path& file, size_t expected, size_t found) {
  return file.string() + ": expected " + std::to_string(expected) + " bytes, found " + std::to_string(found) +
         "; was it preprocessed for this model's input size and type?";
}

TEST(ReadsAFileOfTheRightSize) {
  const TemporaryFolder folder;
  CHECK_EQUAL(Read(folder.Write("a_img.bin", std::string("\0\1\2\xff", 4)), 4), std::string("\0\1\2\xff", 4));
}

TEST(WrongSizesAreNamed) {
  const TemporaryFolder folder;
  const fs::path truncated = folder.Write("a_img.bin", "123"), empty = folder.Write("b_img.bin", "");
  CHECK_ERROR(Read(truncated, 4), kBadInput, Mismatch(truncated, 4, 3));
  CHECK_ERROR(Read(truncated, 2), kBadInput, Mismatch(truncated, 2, 3));
  CHECK_ERROR(Read(empty, 4), kBadInput, Mismatch(empty, 4, 0));
}

TEST(WhatIsNoFileIsNamed) {
  const TemporaryFolder folder;
  const fs::path missing = folder / "missing", directory = folder / "directory", pipe = folder / "pipe";
  fs::create_directory(directory);
  CHECK_EQUAL(::mkfifo(pipe.c_str(), 0600), 0);
  CHECK_ERROR(Read(missing, 4), kBadInput, missing.string() + ": cannot be read: No such file or directory");
  CHECK_ERROR(Read(directory, 4), kBadInput, directory.string() + ": is not a regular file");
  CHECK_ERROR(Read(pipe, 4), kBadInput, pipe.string() + ": is not a regular file");
}

TEST(AFileThatLiesAboutItsSizeIsNamed) {
  // Files under /proc say 0 bytes and have more: the size that counts is what can be read.
  CHECK_ERROR(Read("/proc/self/status", 10), kBadInput, Mismatch("/proc/self/status", 10, 0));
}

// Whatever happens to an input file, reading it gives its very bytes or an error that tells its very size.
TEST(MutatedFilesGiveTheirBytesOrAnError) {
  const TemporaryFolder folder;
  std::mt19937 random(20240607);
  constexpr size_t kExpected = 97;
  int good = 0;
  for (int round = 0; round < 500; ++round) {
    std::string content(kExpected, '\0');
    for (char& c : content) c = static_cast<char>(random());
    switch (random() % 4) {
      case 0:
        content.resize(random() % (kExpected + 1));
        break;
      case 1:
        content.append(random() % 3, 'x');
        break;
      case 2:
        content.insert(random() % kExpected, "\r\n");
        break;
      default:
        content[random() % kExpected] ^= 0x40;
        break;
    }
    const fs::path file = folder.Write("mutated_img.bin", content);
    if (content.size() == kExpected) {
      CHECK(Read(file, kExpected) == content);
      ++good;
    } else {
      CHECK_ERROR(Read(file, kExpected), kBadInput, Mismatch(file, kExpected, content.size()));
    }
  }
  CHECK(good > 50 && good < 450);
}

TEST(WritesAtomically) {
  const TemporaryFolder folder;
  infer::WriteAtomically(folder / "out.bin", {"hello", 5});
  infer::WriteAtomically(folder / "out.bin", {"bye", 3});
  CHECK_EQUAL(ReadText(folder / "out.bin"), "bye");
  infer::WriteAtomically(folder / "empty.bin", {"", 0});
  CHECK_EQUAL(ReadText(folder / "empty.bin"), "");
  infer::SyncFolder(folder.path());
  CHECK_EQUAL(folder.List(), "empty.bin out.bin ");
}

// As the names of RainCityscapes' images do, which the threads of the pipeline write at the same time.
TEST(LongNamesWithTheSameEndDoNotGetInEachOthersWay) {
  const TemporaryFolder folder;
  const std::string end(50, 'e');
  const auto write = [&](char which) {
    const fs::path file = folder / (which + end);
    const std::string content(5000, which);
    for (int i = 0; i < 300; ++i) {
      infer::WriteAtomically(file, {content.data(), content.size()});
      CHECK(ReadText(file) == content);
    }
  };
  infer::ThreadGroup threads;
  for (char which : {'a', 'b'}) threads.Start([&write, which] { write(which); });
  threads.JoinAndRethrow();
  CHECK_EQUAL(folder.List(), "a" + end + " b" + end + " ");
}

TEST(WriteFailsWithoutTheFolder) {
  const TemporaryFolder folder;
  const fs::path file = folder / "missing" / "out.bin";
  CHECK_ERROR(infer::WriteAtomically(file, {"x", 1}), kFailed,
              "cannot write " + file.string() + ": No such file or directory");
}

// A limit on the size of files stands for a full disk: write(2) stops part of the way, then fails.
TEST(FullDiskLeavesTheOldFileAndNoTemporaryOne) {
  const TemporaryFolder folder;
  folder.Write("out.bin", "old");
  const std::string data(4096, 'x');
  std::signal(SIGXFSZ, SIG_IGN);
  rlimit old_limit;
  CHECK_EQUAL(::getrlimit(RLIMIT_FSIZE, &old_limit), 0);
  rlimit limit = old_limit;
  limit.rlim_cur = 1000;
  CHECK_EQUAL(::setrlimit(RLIMIT_FSIZE, &limit), 0);
  std::string message;
  try {
    infer::WriteAtomically(folder / "out.bin", {data.data(), data.size()});
  } catch (const infer::Error& error) {
    message = error.what();
  }
  ::setrlimit(RLIMIT_FSIZE, &old_limit);
  CHECK_EQUAL(message, "cannot write " + (folder / "out.bin").string() + ": File too large");
  CHECK_EQUAL(ReadText(folder / "out.bin"), "old");
  CHECK_EQUAL(folder.List(), "out.bin ");
}

TEST(PreparesFolders) {
  const TemporaryFolder folder;
  infer::PrepareFolder(folder / "a/b");
  infer::PrepareFolder(folder / "a/b");
  CHECK(fs::is_directory(folder / "a/b"));
  const fs::path file = folder.Write("file", "");
  CHECK_ERROR(infer::PrepareFolder(file / "x"), kFailed,
              "cannot write into the folder " + (file / "x").string() + ": Not a directory");
}

TEST(PreparesFiles) {
  const TemporaryFolder folder;
  const fs::path target = folder.Write("target", "kept"), link = folder / "link", pipe = folder / "a/pipe";
  infer::PrepareFile(folder / "a/b/report.json");
  CHECK(fs::is_directory(folder / "a/b") && fs::is_empty(folder / "a/b"));
  infer::PrepareFile(folder.Write("report.json", "of an earlier run"));
  fs::create_symlink(target, link);
  infer::PrepareFile(link);
  CHECK_EQUAL(folder.List(), "a target ");
  CHECK_EQUAL(ReadText(target), "kept");
  CHECK_EQUAL(::mkfifo(pipe.c_str(), 0600), 0);
  for (const fs::path& other : {folder / "a", folder / "a/b", pipe}) {
    CHECK_ERROR(infer::PrepareFile(other), kFailed,
                "cannot write " + other.string() + ": expected a file of that name or none, found something else");
    CHECK(fs::exists(other));
  }
  CHECK_ERROR(infer::PrepareFile(target / "report.json"), kFailed,
              "cannot write into the folder " + target.string() + ": Not a directory");
}

TEST(ReadOnlyFolderIsNamedBeforeAnythingIsRun) {
  const TemporaryFolder folder;
  fs::path read_only = folder / "read_only";
  std::string reason = "Permission denied";
  fs::create_directory(read_only);
  fs::permissions(read_only, fs::perms::owner_read | fs::perms::owner_exec);
  if (::access(read_only.c_str(), W_OK) == 0) {  // root may write everywhere but into a read-only file system
    read_only = "/sys/kernel";
    if (::access(read_only.c_str(), W_OK) == 0) return;
    reason = std::strerror(errno);
  }
  CHECK_ERROR(infer::PrepareFolder(read_only), kFailed,
              "cannot write into the folder " + read_only.string() + ": " + reason);
}

}  // namespace
