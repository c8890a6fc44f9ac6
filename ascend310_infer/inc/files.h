#ifndef ASCEND310_INFER_FILES_H_
#define ASCEND310_INFER_FILES_H_

#include <cstddef>
#include <filesystem>
#include <set>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "tensor.h"

namespace infer {

// Whether the last part of the path begins with a dot.
bool IsHidden(const std::filesystem::path& path);

// ".png" of "a.PNG".
std::string SuffixOf(const std::filesystem::path& path);

// The files of a folder and of those below it.
struct FolderContent {
  std::vector<std::filesystem::path> files;                                   // in no order
  std::vector<std::pair<std::filesystem::path, std::error_code>> unreadable;  // folders that it does not have, and why
};

// Enters each folder once, those behind links too, but neither hidden ones nor those of `closed`, canonical paths.
// Hidden files do not count.
FolderContent FilesBelow(const std::filesystem::path& folder, std::set<std::filesystem::path> closed);

// Reads a file that must be exactly as long as `data`. Throws Error(kBadInput) that names the file and both sizes, or
// the reason why it cannot be read; `data` then holds nothing of use.
void ReadExactly(const std::filesystem::path& file, const TensorView& data);

// The content of a regular file of at most `most` bytes. Throws Error(kBadInput) that names the file.
std::string ReadUpTo(const std::filesystem::path& file, size_t most);

// Makes the folder if need be. Throws Error(kFailed) if that, or writing into it, is not possible.
void PrepareFolder(const std::filesystem::path& folder);

// Makes the folder of a file that is to be written later, and removes an older file of that name, which could be taken
// for the new one. Throws Error(kFailed) if that is not possible, or if something else than a file has the name.
void PrepareFile(const std::filesystem::path& file);

// Writes a file under a temporary name, ".tmp-..." in the same folder, syncs and renames it. Throws Error(kFailed);
// then the temporary file is gone and a file that already stood under the name is untouched.
void WriteAtomically(const std::filesystem::path& file, const ConstTensorView& data);

// Makes the renames inside a folder survive a power cut. Some file systems cannot sync a folder, which is no failure.
void SyncFolder(const std::filesystem::path& folder);

}  // namespace infer

#endif  // ASCEND310_INFER_FILES_H_
