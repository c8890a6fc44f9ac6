"""Shows what a network sees in images and videos of your own.

For images it writes to --output_path
  overlay/<name>_overlay.png      the image under the colours of its classes
  mask/<name>_mask.png            the colours alone
  class_map/<name>_class_map.png  the number of each pixel's class
  confidence/<name>_confidence.png  with --save confidence: the probability of that class, 255 being 1
for videos overlay/<name>_overlay.mp4, and legend.png says which number and colour is which class.
--submit 1 writes submit/<name>_labelIds.png instead, as the Cityscapes test server takes them.

Without another flag the network is fast_scnn_camvid, which comes with this package: Fast-SCNN, trained on CamVid. Yours
comes from a checkpoint (--ckpt_file with the run's config.yaml as --config) or is an exported one (--model_path): .onnx
runs on the CPU and needs no MindSpore, .mindir runs in MindSpore on --device_target.
A checkpoint takes images as they are; MindSpore compiles the network anew for each size. An exported model has one
size: other images are scaled to fit into it and padded (--resize squeeze: scaled to it, whatever their shape), and
their class maps are scaled back (nearest).

A model of somebody else has no metadata: --mean, --std and --dataset_config then say what it would.

Images that this model has already written results of are not done again (--overwrite 1 does them), so a broken-off
prediction goes on where it was. --shard 2/4 takes every fourth image, beginning with the second: start one of the four
on each of four machines.

The index of a camera as the only input, such as 0, predicts what it sees until Ctrl-C or --max_frames, writes
overlay/camera_0_<time>_overlay.mp4 and says how many frames per second went the whole way.

Images that cannot be read are listed, the others are done, and the exit code is 3.
"""
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, List, Optional, Sequence

from rtseg.cli.configuration import make_output_folder, read_configuration
from rtseg.config.config import Config
from rtseg.config.sections import DEFAULT_MODEL
from rtseg.inference.metadata import metadata_path
from rtseg.utils.errors import ConfigError, report_errors
from rtseg.utils.files import pretrained_file
from rtseg.utils.signals import on_stop_signal

if TYPE_CHECKING:
    from rtseg.inference.input_files import InputFile
    from rtseg.inference.metadata import ModelMetadata
    from rtseg.inference.segmenter import Segmenter


def main(argv: Optional[Sequence[str]] = None) -> int:
    config = read_configuration("predict", __doc__, argv=argv)
    if not config.run.ckpt_file:
        name = config.prediction.model_path or DEFAULT_MODEL
        config = config.replace(model_path=str(pretrained_file(name, ".onnx") or name))

    from rtseg.inference.input_files import camera_of, find_inputs, for_submission, shard_of
    from rtseg.inference.prediction import RESULTS

    output = Path(config.run.output_path)
    camera = camera_of(config.prediction.inputs)
    if camera is not None:
        return predict_from_camera(config, camera, output=output)
    files, problems = find_inputs(config.prediction.inputs, [output / name for name in RESULTS])
    if config.prediction.submit:
        files, wrong_names = for_submission(files, config.data.dataset_config.image_suffix)
        problems += wrong_names
    found, files = len(files), shard_of(files, config.prediction.shard_numbers)
    if found and not files:
        print(f"nothing to do for part {config.prediction.shard}: there are only {found} inputs")
    for file in files:
        if not config.prediction.submit and file.name != file.path.stem:
            print(f"note: the results of {file.path} are called {file.name}")
    if files:
        files = unfinished(config, files, output=output)
    if files:
        problems += predict(config, files, output=output)
    return report_errors(f"{len(problems)} of the inputs cannot be predicted:", problems)


def unfinished(config: Config, files: Sequence["InputFile"], *, output: Path) -> List["InputFile"]:
    """The files that are still to be done, with the keys that their results will carry. Says how many are left out."""
    from rtseg.inference.finished import are_finished, image_key, settings_key
    from rtseg.inference.prediction import result_paths

    prediction = config.prediction
    if not Path(config.run.ckpt_file or prediction.model_path).is_file():
        return list(files)  # open_segmenter says what is wrong
    settings = settings_key(config)
    keyed = [file._replace(key=image_key(settings, file.path)) for file in files]
    left = [file for file in keyed if prediction.overwrite or file.is_video or not are_finished(
        result_paths(output, file.name, kinds=prediction.save_kinds, submit=prediction.submit), file.key)]
    if len(left) < len(files):
        print(f"{len(files) - len(left)} of {len(files)} inputs are finished: their results are in {output} "
              "(--overwrite 1 does them again)", flush=True)
    return left


def predict_from_camera(config: Config, index: int, *, output: Path) -> int:
    """Predicts what a camera sees until Ctrl-C or --max_frames; returns the exit code."""
    from rtseg.inference.input_files import InputFile
    from rtseg.inference.prediction import predict_camera
    from rtseg.visualization.video import Camera

    if config.prediction.submit or config.prediction.shard_numbers != (1, 1):
        raise ConfigError(f"camera {index}: expected neither --submit nor --shard with a camera")
    make_output_folder(output)
    file = InputFile(Path(f"camera {index}"), f"camera_{index}_{time.strftime('%Y%m%d_%H%M%S')}")
    problems, times, stop = [], [], threading.Event()
    with closing(Camera(index)) as camera:  # before the network, which takes longer to load
        segmenter = open_segmenter(with_device(config))
        height, width = camera.size
        print(f"{segmenter.description}\ncamera {index}: {width}x{height} pixels; Ctrl-C ends it", flush=True)
        with on_stop_signal(stop.set):
            for problem in predict_camera(segmenter, camera, file=file, folder=output, palette=segmenter.palette,
                                          max_frames=config.prediction.max_frames, should_stop=stop.is_set):
                if problem is None:
                    times.append(time.perf_counter())
                else:
                    problems.append(problem)
    # The first frame includes MindSpore's compilation.
    rate = f"{(len(times) - 1) / (times[-1] - times[0]):.2f} frames/s" if len(times) > 1 else "too few to measure"
    print(f"{len(times)} frames; end to end (camera, network, drawing, writing), without the first: {rate}; "
          f"the video is in {output / 'overlay'}")
    return report_errors("the camera stopped:", problems)


def predict(config: Config, files: Sequence["InputFile"], *, output: Path) -> List[str]:
    """Predicts the files, says how fast it was, and returns what is wrong with which."""
    from tqdm import tqdm

    from rtseg.inference.prediction import predict_files

    make_output_folder(output)
    config = with_device(config)
    segmenter = open_segmenter(config)
    if config.prediction.submit and segmenter.class_names != config.data.dataset_config.class_names:
        raise ConfigError("--submit: expected a network for the classes of --dataset_config "
                          f"'{config.data.dataset_config.name}', whose label ids are to be written, found one for "
                          f"{', '.join(segmenter.class_names)}")
    print(segmenter.description, flush=True)

    problems, done, start = [], 0, time.perf_counter()
    has_video = any(file.is_video for file in files)
    steps = predict_files(segmenter, files, folder=output, num_workers=config.num_workers,
                          label_ids=config.data.dataset_config.train_id_to_id if config.prediction.submit else None,
                          kinds=config.prediction.save_kinds)
    for problem in tqdm(steps, total=None if has_video else len(files), unit="image", disable=None):
        if problem is None:
            done += 1
        else:
            problems.append(str(problem))
    seconds = time.perf_counter() - start
    print(f"{done} {'images and frames' if has_video else 'images'} in {seconds:.1f} s"
          f"{' with compilation' if config.run.ckpt_file else ''}, {done / seconds:.2f} images/s; results in {output}")
    return problems


def with_device(config: Config) -> Config:
    """`config` with the device that `auto` means; an .onnx, which runs on the CPU, needs no MindSpore to say so."""
    from rtseg.runtime.device import resolve_device_target

    if not config.run.ckpt_file and config.prediction.model_path.lower().endswith(".onnx"):
        return config
    return config.replace(device_target=resolve_device_target(config.run.device_target, print))


def open_segmenter(config: Config) -> "Segmenter":
    """What `config` names by ckpt_file or model_path."""
    from rtseg.inference.predictor import averaging_options
    from rtseg.inference.segmenter import Segmenter

    run, prediction = config.run, config.prediction
    path = Path(run.ckpt_file or prediction.model_path)
    is_foreign = not run.ckpt_file and path.is_file() and not metadata_path(path).exists()
    return Segmenter(path, config=config, metadata=foreign_metadata(config, path) if is_foreign else None,
                     device_target=run.device_target, device_id=run.device_id, resize=prediction.resize,
                     confidence="confidence" in prediction.save_kinds, **averaging_options(prediction))


def foreign_metadata(config: Config, path: Path) -> "ModelMetadata":
    """Metadata of a model that somebody else exported, from the model and the flags."""
    from rtseg.inference.foreign import TensorDescription, describe_model, describe_onnx

    if path.suffix.lower() == ".onnx":
        tensors = describe_onnx(path)
    else:
        from rtseg.export.mindir import read_mindir
        from rtseg.runtime.device import prepare_environment
        prepare_environment()
        graph = read_mindir(path)
        entry, result = (TensorDescription(name.rpartition(":")[2], graph.tensors[name].shape,
                                           graph.tensors[name].dtype.name)
                         for name in (graph.inputs[0], graph.outputs[0]))
        tensors = entry, result
    return describe_model(
        path, tensors, spec=config.data.dataset_config if config.was_given("dataset_config") else None,
        mean=config.data.mean if config.was_given("mean") or config.was_given("config") else None,
        std=config.data.std if config.was_given("std") or config.was_given("config") else None,
        output_type=config.export.output_type if config.was_given("output_type") else None,
        align_corners=config.prediction.align_corners)
