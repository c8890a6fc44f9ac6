#ifndef ASCEND310_INFER_FILES_H_
#define ASCEND310_INFER_FILES_H_

#include <cstddef>
#include <filesystem>
#include <vector>

namespace infer {

// The "<stem>_img.bin" files of a folder, sorted by name. Throws Error(kBadInput) if the folder is missing, cannot be
// read or has none.
std::vector<std::filesystem::path> ListInputs(const std::filesystem::path& folder);

// Name of the result file of output number `index` of an input: "<stem>_img.bin" -> "<stem>_img_<index>.bin".
std::string ResultName(const std::filesystem::path& input, size_t index);

// Reads a file that must be exactly `bytes` long. Throws Error(kBadInput) that names the file and both sizes, or the
// reason why it cannot be read; `data` then holds nothing of use.
void ReadExactly(const std::filesystem::path& file, void* data, size_t bytes);

// Makes the folder if need be. Throws Error(kFailed) if that, or writing into it, is not possible.
void PrepareFolder(const std::filesystem::path& folder);

// Writes a file whole or not at all: temporary name ".tmp-..." in the same folder, fsync, rename. Throws
// Error(kFailed); then the temporary file is gone and a file that already stood under the name is untouched.
void WriteWhole(const std::filesystem::path& file, const void* data, size_t bytes);

// Makes the renames inside a folder survive a power cut. Some file systems cannot sync a folder, which is no failure.
void SyncFolder(const std::filesystem::path& folder);

}  // namespace infer

#endif  // ASCEND310_INFER_FILES_H_
