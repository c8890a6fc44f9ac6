#include "image_task.h"

#include "files.h"
#include "image_codec.h"
#include "letterbox.h"
#include "masks.h"

namespace fs = std::filesystem;

namespace infer {
namespace {

constexpr size_t kMostFileBytes = 1 << 29;

}  // namespace

ImageTask::ImageTask(const Metadata& metadata, const ClassMapDecoder& decoder, const Results& results,
                     fs::path result_folder, Scorer* scorer)
    : metadata_(metadata),
      decoder_(decoder),
      filler_(metadata),
      results_(results),
      result_folder_(std::move(result_folder)),
      scorer_(scorer) {
  for (const ResultKind& kind : kResultKinds) {
    if (results_.*kind.wanted) PrepareFolder(result_folder_ / kind.name);
  }
}

void ImageTask::Prepare(Sample* sample, const TensorView& input) {
  Stopwatch stopwatch;
  const std::string content = ReadUpTo(*sample->file, kMostFileBytes);
  Image image;
  DecodeRgb(content, *sample->file, [&](const Size& size) {
    sample->placement = Letterbox(size, metadata_.size);
    uint8_t* in_place = results_.overlay ? nullptr : filler_.PlaceFor(size, input);
    if (in_place != nullptr) return in_place;
    image = Image(size, 3);
    return image.pixels.data();
  });
  sample->time(Stage::kRead) = stopwatch.Lap();
  if (image.size == sample->placement.valid) {
    filler_.Fill(image, input);
  } else if (!image.pixels.empty()) {
    filler_.Fill(ResizeBilinear(image, sample->placement.valid), input);
  }
  if (results_.overlay) sample->image = std::move(image);
  sample->time(Stage::kPreprocess) = stopwatch.Lap();
}

void ImageTask::Finish(Sample* sample, const std::vector<ConstTensorView>& outputs) {
  Stopwatch stopwatch;
  const fs::path& file = *sample->file;
  Image class_map = decoder_.Decode(outputs.at(0), sample->placement.valid, file);
  if (class_map.size != sample->placement.original) class_map = ResizeNearest(class_map, sample->placement.original);
  sample->time(Stage::kPostprocess) = stopwatch.Lap();
  if (results_.class_map) Write("class_map", file, class_map);
  if (results_.mask) Write("mask", file, Colorize(class_map, metadata_.palette));
  if (results_.overlay) Write("overlay", file, Overlay(sample->image, class_map, metadata_.palette));
  sample->image = Image();
  sample->time(Stage::kWrite) = stopwatch.Lap();
  if (scorer_ != nullptr) scorer_->Score(file, class_map);  // the last, so that the results are there anyway
  sample->time(Stage::kPostprocess) += stopwatch.Lap();
}

void ImageTask::End() {
  for (const ResultKind& kind : kResultKinds) {
    if (results_.*kind.wanted) SyncFolder(result_folder_ / kind.name);
  }
}

void ImageTask::Write(const std::string& kind, const fs::path& input, const Image& image) const {
  const std::string encoded = EncodePng(image);
  const fs::path file = result_folder_ / kind / (input.stem().string() + "_" + kind + ".png");
  WriteAtomically(file, {encoded.data(), encoded.size()});
}

}  // namespace infer
