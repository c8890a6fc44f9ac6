"""A whole evaluation of images at full size against its parts, each of them alone, and its peak memory, on the CPU.

    python benchmarks/evaluation.py --dataset DIR [--prepared_cache DIR] [--split val] [--images 8] [--rounds 5]
                                    [--model fast_scnn/mmseg] [--device_ms 0] [--json]

The parts: decode (image and label files to arrays), forward (array to the network's output), score (the confusion
matrix). The whole overlaps them, and the classes of the head's logits. Where the forward pass keeps all cores busy it
cannot be as short as its slowest part: the processor time of the other parts has to go somewhere. Hence "bound": the
slowest part, or all processor time shared by all cores if that is longer. With --device_ms the forward pass is a wait
of so long, as an NPU looks from the processor. Two more for comparison: predict is the forward pass and the classes,
class_map the same with the last upsampling and the argmax in the network. The measurement runs in a process of its own;
its memory is the operating system's peak, minus what it had before the network was built.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(PROJECT), str(PROJECT / "src")]

from benchmarks.forward import NAMES  # noqa: E402
from benchmarks.interleaved import measure, millisecond_medians, ratio  # noqa: E402
from benchmarks.repeated_images import Repeated  # noqa: E402
from benchmarks.side_process import peak_memory  # noqa: E402
from rtseg.config.recipe import load_config  # noqa: E402
from rtseg.data.cache import with_cache  # noqa: E402
from rtseg.data.dataset import SegmentationDataset  # noqa: E402
from rtseg.runtime.device import setup_device  # noqa: E402
from rtseg.utils.errors import run_command  # noqa: E402


def measure_parts(arguments) -> dict:
    setup_device("CPU")
    import cv2
    import mindspore as ms
    import numpy as np

    from rtseg.inference.evaluator import Evaluator
    from rtseg.inference.graph import InferenceGraph
    from rtseg.inference.predictor import network_predictor
    from rtseg.metrics.confusion_matrix import ConfusionMatrix
    from rtseg.models.registry import create_model

    cv2.setNumThreads(0)
    model, variant = arguments.model.split("/")
    recipe = load_config(PROJECT / "configs" / "fast_scnn.yaml")
    source = SegmentationDataset(arguments.dataset, arguments.split, spec=recipe.data.dataset_config)
    dataset = Repeated(with_cache(source, arguments.prepared_cache), arguments.images)
    before = peak_memory()
    network = create_model(model, variant, num_classes=19).set_train(False)
    predictor = network_predictor(network, mean=recipe.data.mean, std=recipe.data.std)
    evaluator = Evaluator(predictor, dataset, num_classes=recipe.data.dataset_config.num_classes, num_workers=2)
    evaluator.run()
    peak = peak_memory()
    image, label = dataset.load(0)
    output, (prediction,) = predictor.backend.run(image[None]), predictor([image])
    if arguments.device_ms:
        def device(_):
            time.sleep(arguments.device_ms / 1000)
            return output

        predictor.backend.run = device

    def repeat(part):
        def run():
            start = time.process_time()
            for i in range(arguments.images):
                part(i)
            busy[part].append(time.process_time() - start)
        busy[part] = []
        return run

    def decode(i):
        # A cached image is only mapped by `load`; here it has to be read.
        np.array(dataset.load(i)[0])

    def forward(_):
        predictor.start([image])

    upsampling = InferenceGraph(network, recipe.data.mean, std=recipe.data.std, output_type="class_map")

    def predict(_):
        predictor([image])

    def class_map(_):
        upsampling(ms.Tensor(image[None])).asnumpy()

    def score(_):
        ConfusionMatrix(19).update(prediction, label)

    busy = {}
    seconds = measure({"whole": evaluator.run, "decode": repeat(decode), "forward": repeat(forward),
                       "score": repeat(score), "predict": repeat(predict),
                       "class_map": repeat(class_map)}, arguments.rounds)
    medians = millisecond_medians(seconds, arguments.images)
    parts = [seconds[name] for name in ("decode", "forward", "score")]
    slowest = [max(values) for values in zip(*parts)]
    processor = sum(statistics.median(busy[part][1:]) for part in (decode, forward, score))
    bound = [max(value, processor / os.cpu_count()) for value in slowest]
    name = f"a wait of {arguments.device_ms} ms" if arguments.device_ms else arguments.model
    return {"model": name, "mindspore": ms.__version__, "opencv": cv2.__version__, "cores": os.cpu_count(),
            "size": label.shape, "images": arguments.images, "rounds": arguments.rounds, "ms_per_image": medians,
            "cores_busy_in_forward": statistics.median(busy[forward][1:]) / statistics.median(seconds["forward"]),
            "predict_to_class_map": ratio(seconds["predict"], seconds["class_map"]),
            "whole_to_slowest_part": ratio(seconds["whole"], slowest), "whole_to_bound": ratio(seconds["whole"], bound),
            "whole_to_sum_of_parts": ratio(seconds["whole"], [sum(values) for values in zip(*parts)]),
            "peak_mb": peak - before}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--dataset", required=True, help="Cityscapes root")
    parser.add_argument("--prepared_cache", default="", help="of the data set, to read instead of its PNG files")
    parser.add_argument("--split", default="val")
    parser.add_argument("--model", default="fast_scnn/mmseg", choices=NAMES, metavar="MODEL/VARIANT")
    parser.add_argument("--device_ms", type=int, default=0, help="wait so long instead of running the network")
    parser.add_argument("--images", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--in_process", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.in_process:
        print(json.dumps(measure_parts(arguments)))
        return
    command = [sys.executable, __file__, "--in_process", *sys.argv[1:]]
    process = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if process.returncode:  # it has said why
        sys.exit(process.returncode)
    line = process.stdout.strip().splitlines()[-1]
    if arguments.json:
        print(line)
        return
    found = json.loads(line)
    print(f"{found['model']}, {found['size'][0]}x{found['size'][1]}, MindSpore {found['mindspore']}, {found['cores']} "
          f"cores, medians of {found['rounds']} rounds of {found['images']} images")
    for name, value in found["ms_per_image"].items():
        print(f"  {name:9s} {value:8.1f} ms an image")
    for name, what in (("slowest_part", "its slowest part"), ("bound", "the bound"), ("sum_of_parts", "the sum")):
        print(f"  the whole : {what:16s} {found[f'whole_to_{name}']:.2f}")
    print(f"  predict : class_map          {found['predict_to_class_map']:.2f}")
    print(f"  the forward pass keeps {found['cores_busy_in_forward']:.2f} cores busy; peak memory "
          f"{found['peak_mb']:.0f} MB")


if __name__ == "__main__":
    run_command(lambda _: main())
