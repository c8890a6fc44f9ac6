"""The C++ program, PNG files to class-map files, against the rates of OpenVINO and ONNX Runtime without any file.

    python benchmarks/cpp_inference.py [--model fast_scnn] [--ckpt_file best_map.ckpt --config config.yaml]
                                       [--image_path FOLDER] [--images 24] [--rounds 5] [--torch] [--fast] [--json]

Exports the network as it is deployed (uint8 in): with head_logits for the program, and whole, with class_map, for the
peers, which run it in float32 and without files: OpenVINO one image at a time and with as many in flight as it
suggests, ONNX Runtime one at a time. All run in turns. The images are synthetic street scenes unless --image_path names
some. --torch adds PyTorch eager in the usual Python loop, from the same files to such files (Fast-SCNN with fresh
weights only; it needs requirements-benchmark.txt). --fast adds the program with --precision=fast and the share of
pixels that get the same class. Weights are fresh unless --ckpt_file is given; they change only how much of an image
lies between classes. Rates and ratios are medians of the rounds. On a machine that others use too the processor time
says more than the rate; ONNX Runtime's has its threads' waiting in it.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Tuple

PROJECT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(PROJECT), str(PROJECT / "src")]

from benchmarks.interleaved import ratio  # noqa: E402
from benchmarks.side_process import SideProcess, peak_memory, serve  # noqa: E402

DISTINCT_SCENES = 8  # drawing one takes longer than a benchmark needs them to differ


def run(*command, **options) -> str:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, **options)
    if done.returncode != 0:
        sys.exit(f"exit code {done.returncode} of {' '.join(map(str, command))}:\n{done.stderr[-2000:]}")
    return done.stdout


def make_images(arguments: argparse.Namespace, folder: Path) -> None:
    """Links or draws `--images` PNG files."""
    if arguments.image_path:
        sources = sorted(Path(arguments.image_path).rglob("*.png"))
    else:
        from rtseg.synthetic.generator import generate
        scenes = folder.parent / "scenes"
        generate(scenes, train=0, val=min(arguments.images, DISTINCT_SCENES), test=0, height=arguments.image_height,
                 width=arguments.image_width)
        sources = sorted((scenes / "leftImg8bit").rglob("*.png"))
    if not sources:
        sys.exit(f"no .png file in {arguments.image_path}")
    folder.mkdir()
    for i in range(arguments.images):
        (folder / f"{i:03d}.png").symlink_to(sources[i % len(sources)].resolve())


def export_model(arguments: argparse.Namespace, folder: Path, output_type: str) -> Path:
    checkpoint, flags = arguments.ckpt_file, ["--config", arguments.config] if arguments.config else []
    if not checkpoint:
        checkpoint = folder / "fresh.ckpt"
        if not checkpoint.exists():
            run(sys.executable, __file__, "--model", arguments.model, "--side", f"checkpoint:{checkpoint}")
        flags = ["--model", arguments.model]
    path = folder / f"{output_type}.onnx"
    run(sys.executable, PROJECT / "export.py", "--ckpt_file", checkpoint, "--file_name", path, "--file_format", "ONNX",
        "--image_height", arguments.image_height, "--image_width", arguments.image_width, "--input_type", "uint8",
        "--output_type", output_type, *flags)
    return path


# The sides that run in processes of their own: SIDE:MODEL_OR_FILES. Each returns a function that does a round, and the
# version of what does it.

def openvino_side(model_path: Path, images: int, hint: str):
    import numpy as np
    import openvino

    model = openvino.Core().compile_model(str(model_path), "CPU", {
        "INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": hint})
    data = np.random.default_rng(0).integers(0, 256, tuple(model.inputs[0].shape), dtype=np.uint8)
    queue = openvino.AsyncInferQueue(model) if hint == "THROUGHPUT" else None
    request = None if queue else model.create_infer_request()

    def do_round() -> None:
        for _ in range(images):
            if queue:
                queue.start_async([data])
            else:
                request.infer([data])
        if queue:
            queue.wait_all()
    return do_round, openvino.__version__.split("-")[0]


def onnxruntime_side(model_path: Path, images: int):
    import numpy as np
    import onnxruntime

    session = onnxruntime.InferenceSession(str(model_path), providers=["CPUExecutionProvider"])
    entry = session.get_inputs()[0]
    data = {entry.name: np.random.default_rng(0).integers(0, 256, entry.shape, dtype=np.uint8)}

    def do_round() -> None:
        for _ in range(images):
            session.run(None, data)
    return do_round, onnxruntime.__version__


def torch_side(files: Path):
    """The usual loop: read, normalise, forward, argmax, write."""
    import cv2
    import torch

    from benchmarks.torch_fast_scnn import FastSCNN

    network = FastSCNN(variant="mmseg", aux=0).eval()
    mean, std = (torch.tensor(values).reshape(1, 3, 1, 1) for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    paths = sorted(files.iterdir())

    @torch.inference_mode()
    def do_round() -> None:
        for path in paths:
            image = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
            pixels = torch.from_numpy(image).permute(2, 0, 1)[None]
            classes = network((pixels.float() / 255 - mean) / std).argmax(1).to(torch.uint8)[0]
            cv2.imwrite(str(files.parent / f"{path.stem}_torch.png"), classes.numpy())
    return do_round, torch.__version__


def make_checkpoint(model: str, path: str) -> None:
    """Writes a checkpoint of the network that configs/<model>.yaml names, with fresh weights and 19 classes."""
    import rtseg
    from rtseg.config.recipe import load_config, recipe_of
    from rtseg.models.weights import save_weights
    from rtseg.runtime.device import setup_device

    setup_device("CPU")
    network = load_config(recipe_of(model)).network
    save_weights(path, rtseg.create_model(network.model, network.variant, num_classes=19, backbone=network.backbone))


def serve_side(side: str, images: int) -> None:
    name, _, path = side.partition(":")
    sides = {"openvino": lambda: openvino_side(Path(path), images, "LATENCY"),
             "openvino_throughput": lambda: openvino_side(Path(path), images, "THROUGHPUT"),
             "onnxruntime": lambda: onnxruntime_side(Path(path), images), "torch": lambda: torch_side(Path(path))}
    do_round, version = sides[name]()

    def measure() -> Tuple[float, float]:
        """Images per second, and milliseconds of processor time of an image."""
        start, processor = time.perf_counter(), time.process_time()
        do_round()
        return images / (time.perf_counter() - start), 1000 * (time.process_time() - processor) / images
    measure()
    serve({"version": version}, measure, peak_memory())


def run_program(program: str, model: Path, images: Path, folder: Path, *flags: str) -> dict:
    """The program's report."""
    report = folder / "report.json"
    run(program, f"--model_path={model}", f"--dataset_path={images}", f"--result_path={folder / 'results'}",
        f"--time_path={folder}", f"--report_json={report}", *flags)
    return json.loads(report.read_text())


def latency(report: dict) -> float:
    """Milliseconds of one image from its file to its class map's file."""
    return sum(stage["mean"] for stage in report["stage_ms"].values()) + report["run_latency_ms"]["mean"]


def agreement(first: Path, second: Path) -> float:
    """Share of the pixels that two folders of class maps have in common."""
    import cv2

    pairs = [(cv2.imread(str(path), 0), cv2.imread(str(second / path.name), 0)) for path in first.iterdir()]
    return sum((a == b).sum() for a, b in pairs) / sum(a.size for a, _ in pairs)


def compare(arguments: argparse.Namespace, folder: Path) -> dict:
    images = folder / "images"
    make_images(arguments, images)
    head, whole = (export_model(arguments, folder, output_type) for output_type in ("head_logits", "class_map"))
    program = run("bash", PROJECT / "ascend310_infer" / "build.sh", "-DRUNTIME=openvino", f"-DPYTHON={sys.executable}",
                  env={**os.environ, "BUILD_DIR": str(folder / "build")}).strip()
    paths = {"openvino": whole, "openvino_throughput": whole, "onnxruntime": whole}
    if arguments.torch:
        paths["torch"] = images
    sides = {name: SideProcess([sys.executable, *sys.argv, "--side", f"{name}:{path}"]) for name, path in paths.items()}
    programs = {"cpp": ["--save=class_map"]}
    if arguments.fast:
        programs["cpp_fast"] = ["--save=class_map", "--precision=fast"]
    values = {name: [] for name in [*programs, "cpp_inference_only"]}  # as measure() gives them
    latencies, loads, reports = [], [], {}
    for _ in range(arguments.rounds):
        loads.append(os.getloadavg()[0])
        for name, flags in programs.items():
            (folder / name).mkdir(exist_ok=True)
            reports[name] = run_program(program, head, images, folder / name, *flags)
            values[name].append((reports[name]["end_to_end_images_per_second"],
                                 reports[name]["processor_ms_per_image"]))
        loop = run_program(program, head, images, folder, f"--loop={arguments.images}")
        values["cpp_inference_only"].append((loop["inference_images_per_second"], loop["processor_ms_per_image"]))
        latencies.append(latency(run_program(program, head, images / "000.png", folder, "--requests=1")))
        for side in sides.values():
            side.run()
    versions = {name: side.facts["version"] for name, side in sides.items()}
    values.update({name: side.finish()["values"] for name, side in sides.items()})
    rates = {name: [rate for rate, _ in value] for name, value in values.items()}
    processor = {name: statistics.median(milliseconds for _, milliseconds in value) for name, value in values.items()}
    exported = json.loads(head.with_suffix(".json").read_text(encoding="utf-8"))
    result = {"model": exported["model"], "size": [arguments.image_height, arguments.image_width],
              "images": arguments.images, "rounds": arguments.rounds, "cores": os.cpu_count(), "load": loads,
              "versions": versions, "images_per_second": {k: statistics.median(v) for k, v in rates.items()},
              "processor_ms_per_image": processor,
              "ratio_to": {name: ratio(rates["cpp"], rates[name]) for name in rates if name != "cpp"},
              "latency_ms": statistics.median(latencies),
              "stage_ms": {name: stage["mean"] for name, stage in reports["cpp"]["stage_ms"].items()}}
    if arguments.fast:
        result["fast_agreement"] = agreement(*(folder / name / "results" / "class_map" for name in programs))
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default="fast_scnn", help="recipe in configs/ (%(default)s)")
    parser.add_argument("--ckpt_file", help="checkpoint; fresh weights if there is none")
    parser.add_argument("--config", help="recipe of the checkpoint")
    parser.add_argument("--image_path", help="folder of PNG files; synthetic street scenes if there is none")
    parser.add_argument("--image_height", type=int, default=1024)
    parser.add_argument("--image_width", type=int, default=2048)
    parser.add_argument("--images", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--torch", action="store_true", help="with PyTorch in the usual Python loop")
    parser.add_argument("--fast", action="store_true", help="with the program in bfloat16 or float16")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--side", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if (arguments.side or "").startswith("checkpoint:"):
        make_checkpoint(arguments.model, arguments.side.partition(":")[2])
        return
    if arguments.side:
        serve_side(arguments.side, arguments.images)
        return
    if arguments.config and not arguments.ckpt_file:
        parser.error("--config: expected --ckpt_file with it; fresh weights are those of --model")
    if arguments.torch and (arguments.model != "fast_scnn" or arguments.ckpt_file):
        parser.error("--torch: expected no other --model and no --ckpt_file: PyTorch runs Fast-SCNN with fresh weights")
    with tempfile.TemporaryDirectory() as name:
        result = compare(arguments, Path(name))
    if arguments.json:
        print(json.dumps(result))
        return
    size = "x".join(map(str, result["size"]))
    print(f"{result['model']} {size}, {result['images']} images, {result['cores']} cores, "
          f"load {min(result['load']):.1f} to {max(result['load']):.1f}")
    for side, rate in result["images_per_second"].items():
        compared = f", the program with files is {result['ratio_to'][side]:.2f} times as fast" if side != "cpp" else ""
        version = f" {result['versions'][side]}" if side in result["versions"] else ""
        milliseconds = result["processor_ms_per_image"][side]
        print(f"{side + version:30s} {rate:7.2f} images/s, {milliseconds:6.1f} ms of processor time each{compared}")
    print(f"one image from file to class map: {result['latency_ms']:.1f} ms; stages: " + ", ".join(
        f"{stage} {value:.1f} ms" for stage, value in result["stage_ms"].items()))
    if arguments.fast:
        print(f"--precision=fast: {100 * result['fast_agreement']:.3f} % of the pixels get the same class")


if __name__ == "__main__":
    main()
