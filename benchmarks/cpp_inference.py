"""The C++ program, files in to files out, against OpenVINO's own pure-inference rate on the same ONNX.

    python benchmarks/cpp_inference.py [--image_height 1024] [--image_width 2048] [--images 24] [--rounds 5] [--torch]
                                       [--json]

Exports Fast-SCNN (fresh weights: they don't change the speed) in both forms, builds the program, and runs the two in
turns: the program over `--images` files, then the same number of synchronous inferences through OpenVINO's Python API
in float32, without any file. With --torch a third: PyTorch eager in the usual Python loop, from the same files to files
of the same kind (pip install -r requirements-benchmark.txt). Medians of the rounds.
"""
import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(PROJECT), str(PROJECT / "src")]

from benchmarks.interleaved import ratio  # noqa: E402
from benchmarks.side_process import SideProcess, peak_memory, serve  # noqa: E402
from rtseg.runtime.device import setup_device  # noqa: E402

FORMS = (("float32", "logits"), ("uint8", "class_map"))


def make_checkpoint(path: Path) -> None:
    """Writes a checkpoint of Fast-SCNN with fresh weights."""
    setup_device("CPU")
    from rtseg.models.registry import create_model
    from rtseg.training.checkpoint import save_weights
    save_weights(path, create_model("fast_scnn", "mmseg", num_classes=19))


def run(*command, **options) -> str:
    return subprocess.run([str(part) for part in command], check=True, capture_output=True, text=True, **options).stdout


def pure_rate(model, inputs) -> float:
    """Images per second of `model`, an OpenVINO compiled model, over the arrays `inputs`."""
    request = model.create_infer_request()
    request.infer(inputs[:1])
    start = time.perf_counter()
    for item in inputs:
        request.infer([item])
    return len(inputs) / (time.perf_counter() - start)


def torch_side(files: Path, height: int, width: int, input_type: str) -> None:
    """The usual loop: read, normalise, forward, argmax, write."""
    import numpy as np
    import torch

    from benchmarks.torch_fast_scnn import FastSCNN

    network = FastSCNN(variant="mmseg", aux=0).eval()
    mean, std = (torch.tensor(values).reshape(1, 3, 1, 1) for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))

    def classify(data):
        if input_type == "float32":
            return network(torch.from_numpy(data.view(np.float32).reshape(1, 3, height, width)))
        pixels = torch.from_numpy(data.reshape(1, height, width, 3)).permute(0, 3, 1, 2)
        return network((pixels.float() / 255 - mean) / std).argmax(1).to(torch.uint8)

    def loop():
        for path in sorted(files.iterdir()):
            classify(np.fromfile(path, np.uint8)).numpy().tofile(files.parent / f"{path.stem}_torch.bin")
    with torch.inference_mode():
        serve({"version": torch.__version__}, loop, peak_memory())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--image_height", type=int, default=1024)
    parser.add_argument("--image_width", type=int, default=2048)
    parser.add_argument("--images", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--torch", action="store_true", help="with PyTorch in the usual Python loop")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--side", help=argparse.SUPPRESS)  # "folder:input_type" of the PyTorch process
    arguments = parser.parse_args()
    if arguments.side:
        files, _, input_type = arguments.side.rpartition(":")
        torch_side(Path(files), arguments.image_height, arguments.image_width, input_type)
        return
    import numpy as np
    import openvino

    height, width = arguments.image_height, arguments.image_width
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_checkpoint(folder / "w.ckpt")
        program = run("bash", PROJECT / "ascend310_infer" / "build.sh", "-DRUNTIME=openvino",
                      f"-DPYTHON={sys.executable}", env={**os.environ, "BUILD_DIR": str(folder / "build")}).strip()
        for input_type, output_type in FORMS:
            model_path = folder / f"{output_type}.onnx"
            run(sys.executable, PROJECT / "export.py", "--ckpt_file", folder / "w.ckpt", "--file_name",
                folder / output_type, "--file_format", "ONNX", "--image_height", height, "--image_width", width,
                "--input_type", input_type, "--output_type", output_type)
            shape = (1, 3, height, width) if input_type == "float32" else (1, height, width, 3)
            rng = np.random.default_rng(0)
            data = (rng.standard_normal(shape, dtype=np.float32) if input_type == "float32"
                    else rng.integers(0, 256, shape, dtype=np.uint8))
            files = folder / f"{output_type}_in"
            files.mkdir()
            for i in range(arguments.images):
                data.tofile(files / f"{i:03d}_img.bin")
            model = openvino.Core().compile_model(str(model_path), "CPU", {
                "INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"})
            command = [program, "--model_path", model_path, "--dataset_path", files, "--result_path",
                       folder / f"{output_type}_out", "--time_path", folder / "time"]
            lr_per_step = {"cpp_with_io": [], "openvino_pure": []}
            torch = None
            if arguments.torch:
                torch = SideProcess([sys.executable, *sys.argv, "--side", f"{files}:{input_type}"])
                torch.run()
                lr_per_step["torch_with_io"] = []
            for _ in range(arguments.rounds):
                report = run(*command)
                lr_per_step["cpp_with_io"].append(float(re.search(r"with file I/O +([\d.]+) images/s", report)[1]))
                lr_per_step["openvino_pure"].append(pure_rate(model, [data] * arguments.images))
                if torch:
                    start = time.perf_counter()
                    torch.run()
                    lr_per_step["torch_with_io"].append(arguments.images / (time.perf_counter() - start))
            if torch:
                torch.finish()
            medians = {name: statistics.median(values) for name, values in lr_per_step.items()}
            result = {"form": f"{input_type}/{output_type}", "size": [height, width], "openvino": openvino.__version__,
                      "images": arguments.images, "rounds": arguments.rounds, "images_per_second": medians,
                      "ratio": ratio(lr_per_step["cpp_with_io"], lr_per_step["openvino_pure"]),
                      "bytes_in": data.nbytes, "bytes_out": (files.parent / f"{output_type}_out" /
                                                             "000_img_0.bin").stat().st_size}
            if torch:
                result.update(torch=torch.facts["version"],
                              ratio_to_torch=ratio(lr_per_step["cpp_with_io"], lr_per_step["torch_with_io"]))
            print(json.dumps(result) if arguments.json else
                  f"{result['form']:18s} {height}x{width}: C++ with files {medians['cpp_with_io']:.2f} images/s, "
                  f"OpenVINO alone {medians['openvino_pure']:.2f}, ratio {result['ratio']:.2f}; "
                  f"{data.nbytes / 1e6:.1f} MB in, {result['bytes_out'] / 1e6:.1f} MB out per image" + (
                      f"; PyTorch {result['torch']} with files {medians['torch_with_io']:.2f} images/s, ratio "
                      f"{result['ratio_to_torch']:.2f}" if torch else ""), flush=True)


if __name__ == "__main__":
    main()
