"""Sends images and videos through a predictor and writes what it sees. Decoding, the network and writing overlap."""
from contextlib import closing
from functools import partial
from itertools import count, takewhile
from pathlib import Path
from typing import Callable, Iterable, Iterator, NamedTuple, Optional, Sequence

import numpy as np

from rtseg.config.config import Config
from rtseg.data.image_io import read_image
from rtseg.data.loader import prefetch
from rtseg.inference.input_files import InputFile, read_upright
from rtseg.utils.errors import DataError
from rtseg.visualization.masks import colorize, legend, overlay, save_png
from rtseg.visualization.video import Video, video_format, writing_video

OVERLAY, MASK, CLASS_MAP, SUBMISSION, LEGEND = "overlay", "mask", "class_map", "submit", "legend.png"
RESULTS = (OVERLAY, MASK, CLASS_MAP, SUBMISSION, LEGEND)  # all that is ever written below the output folder


class _Picture(NamedTuple):
    """An image on its way from the file to the results."""

    file: InputFile
    image: Optional[np.ndarray] = None    # uint8 (H, W, 3)
    classes: Optional[np.ndarray] = None  # uint8 (H, W)
    error: Optional[DataError] = None


def predict_files(config: Config, predictor, files: Sequence[InputFile], folder: Path) -> Iterator[Optional[DataError]]:
    """Predicts images, then videos, and writes to `folder` what predict.py --help says.

    Yields:
        None for each image or frame, as soon as its results are written; what is wrong with each bad file.

    Raises:
        OSError, UserError: the results cannot be written.
    """
    images = [file for file in files if not file.is_video]
    if config.prediction.submit:
        read, write = read_image, partial(_write_label_ids, folder, config.data.dataset_config.train_id_to_id)
    else:
        save_png(folder / LEGEND, legend(predictor.class_names, predictor.palette))
        read, write = read_upright, partial(_write_images, folder, predictor.palette)
    yield from predict_images(predictor, images, read, write, config.data.num_workers)
    for file in files:
        if file.is_video:
            try:
                yield from predict_video(predictor, file, folder, predictor.palette)
            except DataError as error:
                yield error


def predict_images(predictor, files: Iterable[InputFile], read: Callable, write: Callable,
                     num_workers: int) -> Iterator[Optional[DataError]]:
    """Predicts images; the good ones are written whatever is wrong with others.

    Args:
        predictor: see src/rtseg/inference/segmenter.py.
        files: the images.
        read: path -> uint8 (H, W, 3) RGB; may raise DataError.
        write: called with name, image and classes, uint8 (H, W) train ids.
        num_workers: threads that read, and as many that write; 0 for none next to the calling one.

    Yields:
        for each image, as soon as its results are written, what is wrong with it, or None.
    """
    def read_one(file: InputFile) -> _Picture:
        try:
            return _Picture(file, read(file.path))
        except DataError as error:
            return _Picture(file, error=error)

    def write_one(picture: _Picture) -> Optional[DataError]:
        if picture.error is None:
            write(picture.file.name, picture.image, picture.classes)
        return picture.error

    with closing(prefetch(read_one, files, num_workers)) as images, \
            closing(prefetch(write_one, _predicted(predictor, images), num_workers)) as written:
        yield from written


def predict_video(predictor, file: InputFile, folder: Path, palette) -> Iterator[Optional[DataError]]:
    """Predicts a video and writes overlay/<name>_overlay.mp4 (.avi where OpenCV cannot write .mp4), without sound.

    Yields:
        None for each frame, as soon as it is written; at the end what is wrong with the video, if anything is.

    Raises:
        DataError: it is no video, or the network cannot be computed for its size; nothing is written.
    """
    with closing(Video(file.path)) as video, \
            writing_video(folder / OVERLAY / f"{file.name}_overlay{video_format()[0]}", video.size, video.rate) as add:
        def write_one(picture: _Picture) -> None:
            if picture.error is not None:
                raise picture.error
            add(overlay(picture.image, picture.classes, palette=palette))

        written = 0
        # One thread each, so that the frames stay in order.
        with closing(prefetch(lambda _: video.read(), count(), 1)) as frames:
            images = map(partial(_Picture, file), takewhile(lambda frame: frame is not None, frames))
            with closing(prefetch(write_one, _predicted(predictor, images), 1)) as steps:
                for written, step in enumerate(steps, 1):
                    yield step
    if written + video.rate < video.frames:  # the number in the file may be a guess; a second less is not
        yield DataError(f"{file.path}: is damaged after {written} of {video.frames} frames; only these are done")


def _write_images(folder: Path, palette, name: str, image: np.ndarray, classes: np.ndarray) -> None:
    save_png(folder / OVERLAY / f"{name}_overlay.png", overlay(image, classes, palette=palette))
    save_png(folder / MASK / f"{name}_mask.png", colorize(classes, palette))
    save_png(folder / CLASS_MAP / f"{name}_class_map.png", classes)


def _write_label_ids(folder: Path, id_table: np.ndarray, name: str, _image: np.ndarray, classes: np.ndarray) -> None:
    save_png(folder / SUBMISSION / f"{name}_labelIds.png", id_table[classes])


def _predicted(predictor, images: Iterable[_Picture]) -> Iterator[_Picture]:
    batch = []
    for picture in images:
        if picture.error is not None:
            yield picture
            continue
        batch.append(picture)
        if len(batch) == predictor.batch_size:
            yield from _through(predictor, batch)
            batch = []
    if batch:
        yield from _through(predictor, batch)


def _through(predictor, batch: Sequence[_Picture]) -> Iterator[_Picture]:
    try:
        maps = predictor([picture.image for picture in batch])
    except DataError as error:
        for picture in batch:
            yield picture._replace(error=DataError(f"{picture.file.path}: {error}"))
        return
    for picture, classes in zip(batch, maps):
        yield picture._replace(classes=classes)
