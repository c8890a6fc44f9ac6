"""A local page that shows what a network sees: images, videos and the camera, in a browser.

    rtseg demo /path/to/model.onnx /path/to/run/best_map.ckpt

Choose one of these models on the page, a name of `rtseg fetch-weights`, or type the path of another. The page shows
the overlay, the share of each class, the confidence and the time that the network took, and hands out the class map.

It listens on this machine only, unless --host says otherwise; other machines can choose from the list, but not type
paths. The page loads nothing from elsewhere, and what is uploaded is deleted when the command ends.
"""
import html
import os
import signal
import sys
import tempfile
import time
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
from PIL import Image

from rtseg.config.arguments import parse_options
from rtseg.config.fields import Section, option
from rtseg.config.recipe import load_config
from rtseg.inference.metadata import metadata_path, read_metadata
from rtseg.inference.segmenter import Segmentation, Segmenter
from rtseg.tools.fetch_weights import cache_folder, fetch, published_files
from rtseg.utils.errors import ConfigError, DataError, UserError, run_command
from rtseg.utils.files import configs_folder, pretrained_names
from rtseg.visualization.video import Video, writing_video

LOCAL_HOSTS = ("127.0.0.1", "localhost", "::1")
VIEWS = ("Overlay", "Classes", "Confidence")
_PREVIEW_SECONDS = 0.5  # between two frames of a video that the page shows while it is computed
_MOST_BYTES = "1gb"     # of an upload

_CSS = """
.legend {width: 100%} .legend, .legend tr, .legend td {border: none !important; padding: 2px 8px !important}
.legend i {display: inline-block; width: 14px; height: 14px; border-radius: 3px; border: 1px solid #8888}
.legend b {display: block; height: 10px; border-radius: 3px} .legend td:nth-child(3) {text-align: right}
.legend td:last-child {width: 50%}
"""


class DemoOptions(Section):
    """Arguments of `rtseg demo`."""

    models: Tuple[str, ...] = option("checkpoints (.ckpt), or exported .onnx or .mindir files", (), nargs="*",
                                      metavar="MODEL")
    host: str = option("address to listen on; 0.0.0.0 lets the network in", LOCAL_HOSTS[0], metavar="ADDRESS")
    port: int = option("port to listen on", 7860, ge=1, le=65535)
    open_browser: bool = option("open the page in the browser", True)


class Result(NamedTuple):
    """What a network sees in an image, and how long it took."""

    segmentation: Segmentation
    seconds: float


class Models:
    """The networks that can be chosen; the last one stays open."""

    def __init__(self, paths: Sequence[str] = ()):
        self.names = [*paths, *pretrained_names()]
        self.names += [name for name, file in published_files().items() if not file.backbone_only]
        self.name = ""
        self.opened: Dict[bool, Segmenter] = {}  # with confidence, and without, which is faster

    def open(self, name: str, *, confidence: bool) -> Segmenter:
        """The network that a published name or a path means; without confidence if it has none.

        Raises:
            ConfigError, DataError: see Segmenter.
            UserError: published weights cannot be downloaded.
        """
        name = (name or "").strip()
        if not name:
            raise ConfigError("model: expected a name of the list or a path, found nothing")
        if self.name != name:
            self.name, self.opened = name, {}
        if confidence not in self.opened:
            self.opened[confidence] = _segmenter(name, confidence)
        return self.opened[confidence]

    def __call__(self, name: str, image: Any, *, confidence: bool = True) -> Result:
        """What the network `name` sees in an image; see Segmenter."""
        segmenter = self.open(name, confidence=confidence)
        start = time.perf_counter()
        segmentation = segmenter(image)
        return Result(segmentation, time.perf_counter() - start)


def _segmenter(name: str, confidence: bool) -> Segmenter:
    file, path, config = published_files().get(name), Path(name), None
    if file is not None:
        from rtseg.runtime.device import setup_device
        setup_device("CPU")
        path = fetch(file, cache_folder(), report=lambda line: print(line, flush=True))
        config = load_config(configs_folder() / file.config, {"backbone": file.backbone} if file.backbone else {})
    elif path.suffix.lower() in (".onnx", ".mindir") and path.is_file():
        confidence = confidence and read_metadata(metadata_path(path)).output_type != "class_map"
    return Segmenter(path, config=config, confidence=confidence)


def view(segmentation: Segmentation, kind: str, *, alpha: float) -> Image.Image:
    """The image that the page shows; `kind` is one of VIEWS."""
    if kind == "Confidence" and segmentation.confidence is not None:
        return Image.fromarray(segmentation.confidence)
    return segmentation.overlay(alpha=1.0 if kind == "Classes" else alpha)


def legend(segmentation: Segmentation) -> str:
    """An HTML table of the classes that are seen, the largest first: colour, name, share."""
    names, pixels = segmentation.class_names, segmentation.class_map
    shares = 100 * np.bincount(pixels.ravel(), minlength=len(names))[:len(names)] / pixels.size
    rows = []
    for index in np.argsort(-shares, kind="stable"):
        if shares[index] > 0:
            color = "rgb({},{},{})".format(*segmentation.palette[index])
            rows.append(f"<tr><td><i style='background:{color}'></i></td><td>{html.escape(names[index])}</td>"
                        f"<td>{shares[index]:.1f} %</td>"
                        f"<td><b style='background:{color};width:{shares[index]:.1f}%'></b></td></tr>")
    return f"<table class='legend'>{''.join(rows)}</table>"


def summary(result: Result) -> str:
    """A line about confidence, if it was calculated, time and size. The time is from the image to its classes."""
    confidence = result.segmentation.confidence
    average = "" if confidence is None else f"Confidence: {confidence.mean() / 2.55:.1f} % on average · "
    height, width = result.segmentation.class_map.shape
    return f"{average}Latency: {1000 * result.seconds:.0f} ms · {width}x{height} pixels"


def save_class_map(segmentation: Segmentation, folder: Path) -> str:
    """Writes the class map as a PNG file; returns its path."""
    path = Path(tempfile.mkdtemp(dir=folder)) / "class_map.png"
    segmentation.save(path, kind="class_map")
    return str(path)


def segment_video(models: Models, name: str, *, path: Path, folder: Path) -> Iterator[Tuple[Result, Optional[str]]]:
    """Overlays the frames of a video: yields some of the results, and with the last one the path of the new video.

    Raises:
        DataError: it is no video.
    """
    target = Path(tempfile.mkdtemp(dir=folder)) / "overlay.webm"
    with closing(Video(path)) as video, writing_video(target, video.size, rate=video.rate) as add:
        shown = 0.0
        while (frame := video.read()) is not None:
            result = models(name, frame, confidence=False)
            add(np.asarray(result.segmentation.overlay()))
            if time.perf_counter() - shown > _PREVIEW_SECONDS:
                shown = time.perf_counter()
                yield result, None
    yield result, str(target)


def build_page(models: Models, folder: Path, *, any_path: bool = False) -> Any:
    """The page, a gradio.Blocks.

    Args:
        folder: takes what the page hands out.
        any_path: whether the paths of other models can be typed.
    """
    gr = import_gradio()

    def show(result: Result, kind: str, *, alpha: float) -> List[Any]:
        return [view(result.segmentation, kind, alpha=alpha), legend(result.segmentation), summary(result)]

    def on_image(name: str, image: Optional[Image.Image], kind: str, alpha: float) -> List[Any]:
        if image is None:
            return [None, "", "", None, gr.DownloadButton(interactive=False)]
        with _shown_errors(gr):
            result = models(name, image)
            path = save_class_map(result.segmentation, folder)
        return [*show(result, kind, alpha=alpha), result, gr.DownloadButton(value=path, interactive=True)]

    def on_camera(name: str, image: Optional[Image.Image], kind: str, alpha: float) -> List[Any]:
        if image is None:
            return [gr.skip()] * 3
        with _shown_errors(gr):
            return show(models(name, image, confidence=False), kind, alpha=alpha)

    def on_video(name: str, path: Optional[str], kind: str, alpha: float) -> Iterator[List[Any]]:
        if path is None:
            raise gr.Error("expected a video, found none")
        with _shown_errors(gr):
            for result, video in segment_video(models, name, path=Path(path), folder=folder):
                yield [*show(result, kind, alpha=alpha), gr.Video(value=video, visible=video is not None)]

    def on_view(result: Optional[Result], kind: str, alpha: float) -> Any:
        return gr.skip() if result is None else view(result.segmentation, kind, alpha=alpha)

    with gr.Blocks(title="rtseg", analytics_enabled=False) as page:
        gr.Markdown("# Real-time semantic segmentation")
        state = gr.State()
        with gr.Row():
            model = gr.Dropdown(models.names, value=models.names[0], allow_custom_value=any_path, label="Model",
                                info="of the list, or the path of a .ckpt, .onnx or .mindir file" if any_path else None,
                                scale=3)
            kind = gr.Radio(list(VIEWS), value=VIEWS[0], label="View", scale=2)
            alpha = gr.Slider(0, 1, value=0.5, step=0.05, label="Colour over image", scale=1)
        with gr.Row():
            with gr.Column():
                with gr.Tab("Image"):
                    image = gr.Image(type="pil", label="Image", elem_id="image")
                with gr.Tab("Video"):
                    clip = gr.Video(sources=["upload"], label="Video", elem_id="video")
                    run = gr.Button("Segment the video", variant="primary", elem_id="run")
                    seen = gr.Video(label="Overlay", visible=False, buttons=["download"], elem_id="seen_video")
                with gr.Tab("Camera"):
                    camera = gr.Image(sources=["webcam"], streaming=True, type="pil", label="Camera", elem_id="camera")
            with gr.Column():
                overlay = gr.Image(label="Seen", format="png", interactive=False, elem_id="seen",
                                   buttons=["download", "fullscreen"])
                numbers = gr.Markdown(elem_id="numbers")
                table = gr.HTML(elem_id="legend")
                download = gr.DownloadButton("Download the class map", interactive=False, elem_id="download")
        shown = [overlay, table, numbers]
        one_network = {"concurrency_id": "network", "concurrency_limit": 1, "api_visibility": "private"}
        for event in (image.change, model.change):
            event(on_image, [model, image, kind, alpha], [*shown, state, download], **one_network)
        run.click(on_video, [model, clip, kind, alpha], [*shown, seen], **one_network)
        camera.stream(on_camera, [model, camera, kind, alpha], shown, stream_every=0.2, show_progress="hidden",
                      **one_network)
        for event in (kind.change, alpha.release):
            event(on_view, [state, kind, alpha], overlay, show_progress="hidden", api_visibility="private")
    return page


@contextmanager
def _shown_errors(gr: Any) -> Iterator[None]:
    """Around what users can do wrong: their errors appear on the page."""
    try:
        yield
    except UserError as error:
        raise gr.Error(html.escape(str(error)), duration=None, print_exception=False) from None


def import_gradio() -> Any:
    """The package gradio, told to send nothing home.

    Raises:
        ConfigError: it is not installed.
    """
    os.environ.update(GRADIO_ANALYTICS_ENABLED="False", HF_HUB_DISABLE_TELEMETRY="1")
    try:
        import gradio
    except ImportError as error:
        raise ConfigError(f"rtseg demo needs the package gradio, on Python 3.10 or later ({error}); install it with: "
                          "pip install 'rtseg[demo]', in a clone: pip install -r requirements-demo.txt") from None
    return gradio


def main(argv: Optional[Sequence[str]] = None) -> int:
    options = parse_options(DemoOptions, "rtseg demo", description=__doc__, argv=argv)
    for path in options.models:
        if not Path(path).is_file():
            raise DataError(f"{path}: expected a .ckpt, .onnx or .mindir file, found none")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # which deletes the folder, as Ctrl+C does
    with tempfile.TemporaryDirectory(prefix="rtseg-demo-") as folder:
        os.environ["GRADIO_TEMP_DIR"] = folder
        page = build_page(Models(options.models), Path(folder), any_path=options.host in LOCAL_HOSTS)
        page.launch(server_name=options.host, server_port=options.port, inbrowser=options.open_browser, share=False,
                    quiet=True, prevent_thread_lock=True, ssr_mode=False, footer_links=[], css=_CSS,
                    max_file_size=_MOST_BYTES)
        print(f"http://{options.host}:{options.port}  (Ctrl+C ends it)", flush=True)
        page.block_thread()
    return 0


if __name__ == "__main__":
    run_command(main)
