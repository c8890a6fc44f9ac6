"""predict.py: the same classes from a checkpoint, a MINDIR and an ONNX, the submission's score, videos, bad input."""
import importlib.util
import os
import shutil
import sys
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from data_helpers import write_png
from PIL import Image
from script_helpers import PROJECT, run

from rtseg.cli import predict
from rtseg.inference.input_files import InputFile, find_inputs, for_submission, read_upright
from rtseg.inference.metadata import ModelMetadata
from rtseg.inference.prediction import predict_files, predict_images, predict_video
from rtseg.inference.predictor import Prediction
from rtseg.utils.errors import ConfigError, DataError, UserError
from rtseg.visualization.video import Video, video_format, writing_video

HEIGHT, WIDTH = 64, 96
PALETTE = ((0, 60, 0), (255, 80, 0), (40, 40, 200))
DESCRIPTION = """name: garden
image_suffix: .png
label_suffix: _label.png
splits:
  val: {images: images, labels: labels}
classes:
  - {name: grass, id: 7, color: [0, 60, 0]}
  - {name: ball, id: 9, color: [255, 80, 0]}
  - {name: sky, id: 30, color: [40, 40, 200]}
"""
needs_onnx = pytest.mark.skipif(any(importlib.util.find_spec(name) is None for name in ("onnx", "onnxruntime")),
                                reason="the packages onnx and onnxruntime are not installed")


def varied_network(variant, num_classes, image):
    """A network with random weights that sees every class somewhere in `image`, uint8 (H, W, 3)."""
    from mindspore import Tensor

    from rtseg.inference.preprocessing import normalize
    from rtseg.models.registry import create_model

    network = create_model("fast_scnn", variant, num_classes=num_classes)
    rng = np.random.default_rng(0)
    limits = {"gamma": (0.7, 1.3), "beta": (-0.3, 0.3), "moving_mean": (-0.2, 0.2), "moving_variance": (0.5, 1.5)}
    for parameter in network.get_parameters():
        kind = parameter.name.rpartition(".")[2]
        if kind in limits:
            parameter.set_data(Tensor(rng.uniform(*limits[kind], parameter.shape).astype(np.float32)))
    weight, bias = network.classifier.classifier.weight, network.classifier.classifier.bias
    weight.set_data(Tensor(rng.normal(0, 0.5, weight.shape).astype(np.float32)))
    x = Tensor(normalize(image, (0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))[None])
    logits = network.set_train(False)(x).asnumpy()
    mean, spread = (statistic(axis=(0, 2, 3)) for statistic in (logits.mean, logits.std))
    weight.set_data(Tensor(weight.asnumpy() / spread[:, None, None, None]))
    bias.set_data(Tensor(-mean / spread))
    return network


def picture(seed, height=HEIGHT, width=WIDTH):
    """Coloured blocks with noise, uint8 (H, W, 3)."""
    rng = np.random.default_rng(seed)
    blocks = rng.integers(0, 216, (-(-height // 16), -(-width // 16), 3), dtype=np.uint8)
    return np.kron(blocks, np.ones((16, 16, 1), np.uint8))[:height, :width] + rng.integers(
        0, 40, (height, width, 3), dtype=np.uint8)


def class_map(output, name):
    return np.array(Image.open(output / "class_map" / f"{name}_class_map.png"))


def files_in(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.fixture(scope="module")
def garden(tmp_path_factory):
    """Folder with three images of the models' size, garden.yaml, and the same network as net.ckpt, net.mindir and
    net.onnx (bytes in, classes out)."""
    from rtseg.cli import export
    from rtseg.models.weights import save_weights

    folder = tmp_path_factory.mktemp("my garden")
    (folder / "garden.yaml").write_text(DESCRIPTION)
    for seed in range(3):
        write_png(folder / "images" / f"p{seed}.png", picture(seed))
    save_weights(folder / "net.ckpt", varied_network("mmseg", 3, picture(0)))
    export.main([f"--ckpt_file={folder / 'net.ckpt'}", f"--dataset_config={folder / 'garden.yaml'}",
                 f"--image_height={HEIGHT}", f"--image_width={WIDTH}", f"--file_name={folder / 'net'}",
                 "--input_type=uint8", "--output_type=class_map"])
    if importlib.util.find_spec("onnx"):
        export.main([f"--from_mindir={folder / 'net.mindir'}", "--file_format=ONNX"])
    return folder


@needs_onnx
def test_checkpoint_mindir_and_onnx_see_the_same(garden, tmp_path, capsys):
    sources = {"ckpt": [f"--ckpt_file={garden / 'net.ckpt'}", f"--dataset_config={garden / 'garden.yaml'}"],
               "mindir": [f"--model_path={garden / 'net.mindir'}"], "onnx": [f"--model_path={garden / 'net.onnx'}"]}
    maps = {}
    for name, flags in sources.items():
        assert predict.main([str(garden / "images"), *flags, f"--output_path={tmp_path / name}"]) == 0
        maps[name] = np.stack([class_map(tmp_path / name, f"p{seed}") for seed in range(3)])
        assert maps[name].shape == (3, HEIGHT, WIDTH) and set(np.unique(maps[name])) == {0, 1, 2}
        # The runtimes round differently where two classes are nearly equal.
        assert (maps[name] == maps["ckpt"]).mean() > 0.999
    assert "3 images in " in capsys.readouterr().out
    mask, overlay = (np.array(Image.open(tmp_path / "ckpt" / kind / f"p1_{kind}.png")) for kind in ("mask", "overlay"))
    np.testing.assert_array_equal(mask, np.array(PALETTE, np.uint8)[maps["ckpt"][1]])
    assert np.abs(overlay - (mask / 2 + picture(1) / 2)).max() <= 1
    legend = np.array(Image.open(tmp_path / "ckpt" / "legend.png")).reshape(-1, 3)
    assert set(PALETTE) <= {tuple(color) for color in legend.tolist()}


@needs_onnx
def test_as_a_user_runs_it_without_mindspore(garden, tmp_path):
    """Images of any size, of the same name and damaged, and a video, twice into the folder that they are in."""
    (tmp_path / "no_mindspore" / "mindspore").mkdir(parents=True)
    (tmp_path / "no_mindspore" / "mindspore" / "__init__.py").write_text("raise RuntimeError('imported')")
    here = tmp_path / "in put"
    for name, size in (("ä b.png", (50, 70)), ("sub/ä b.jpg", (64, 96)), ("sub/c.png", (33, 200))):
        write_png(here / name, picture(1, *size))
    (here / "sub" / "cut.png").write_bytes((here / "sub" / "c.png").read_bytes()[:500])
    (here / "text.mp4").write_text("no video")
    with writing_video(here / f"clip{video_format()[0]}", (48, 80), rate=12.5) as add:
        for seed in range(4):
            add(picture(seed, 48, 80))
    before = files_in(here)
    model = f"--model_path={garden}/net.onnx"
    command = (sys.executable, PROJECT / "predict.py", ".", "su?/*.png", "absent.png", model, "--output_path=.")
    for done_now in ("7 images and frames in ", "4 images and frames in "):  # images are not done again, videos are
        done = run(*command, cwd=here, PYTHONPATH=str(tmp_path / "no_mindspore"))
        assert done.returncode == 3, done.stderr
        assert "note: the results of sub/ä b.jpg are called ä b_2\n" in done.stdout
        assert done_now in done.stdout and " images/s; results in ." in done.stdout
        errors = [line for line in done.stderr.splitlines() if line.startswith(("error", "  "))]
        assert errors[0] == "error: 3 of the inputs cannot be predicted:" and len(errors) == 4
        assert errors[1].startswith("  absent.png: expected an image, a video, or a folder or pattern of some")
        assert errors[2].startswith("  sub/cut.png: is cut short")
        assert errors[3].startswith("  text.mp4: expected a video")
        names = [f"{kind}/{name}_{kind}.png" for kind in ("class_map", "mask", "overlay")
                 for name in ("c", "ä b", "ä b_2")]
        assert set(files_in(here)) - set(before) == {*names, f"overlay/clip_overlay{video_format()[0]}", "legend.png"}
    assert class_map(here, "ä b").shape == (50, 70) and class_map(here, "c").shape == (33, 200)

    # No file may have more than 2 KiB, which stands in for a full disk.
    full = run("bash", "-c", 'ulimit -f 2; exec "$@"', "bash", *command[:2], "sub/c.png", model, "--output_path=full",
               cwd=here)
    assert full.returncode == 1 and "Traceback" not in full.stderr
    assert "error: [Errno 27] File too large" in full.stderr
    assert [name for name in files_in(here) if name.startswith("full/")] in ([], ["full/legend.png"])


@needs_onnx
def test_a_model_of_somebody_else_needs_flags_instead_of_metadata(garden, tmp_path):
    (tmp_path / "theirs.onnx").write_bytes((garden / "net.onnx").read_bytes())
    flags = [str(garden / "images"), f"--model_path={tmp_path / 'theirs.onnx'}", f"--output_path={tmp_path / 'out'}",
             "--save=class_map"]
    with pytest.raises(ConfigError, match="theirs.json, or flags .* missing: --dataset_config, --mean, --std$"):
        predict.main(flags)
    assert predict.main([*flags, f"--dataset_config={garden / 'garden.yaml'}", "--mean=0.485,0.456,0.406",
                         "--std=0.229,0.224,0.225"]) == 0
    assert predict.main([*flags[:1], f"--model_path={garden / 'net.onnx'}", f"--output_path={tmp_path / 'ours'}"]) == 0
    for seed in range(3):
        np.testing.assert_array_equal(class_map(tmp_path / "out", f"p{seed}"), class_map(tmp_path / "ours", f"p{seed}"))
    assert files_in(tmp_path / "out") == [f"class_map/p{seed}_class_map.png" for seed in range(3)] + ["legend.png"]


def test_averages_and_confidence_of_a_checkpoint(garden, tmp_path):
    flags = [str(garden / "images" / "p0.png"), f"--ckpt_file={garden / 'net.ckpt'}",
             f"--dataset_config={garden / 'garden.yaml'}", f"--output_path={tmp_path}"]
    assert predict.main([*flags, "--save=class_map,confidence", "--flip", "--window=64", "--overlap=16,32"]) == 0
    assert files_in(tmp_path) == ["class_map/p0_class_map.png", "confidence/p0_confidence.png", "legend.png"]
    confidence = np.array(Image.open(tmp_path / "confidence" / "p0_confidence.png"))
    assert confidence.shape == (HEIGHT, WIDTH) and confidence.min() >= 85  # the best of three classes has a third
    for wrong, message in (
            (["--save=sky"], "--save: expected some of overlay, mask, class_map, confidence, found 'sky'"),
            (["--overlap=8"], "--overlap: expected --window with it"),
            (["--window=32", "--overlap=32"], "--overlap: expected less than the window 32,32")):
        with pytest.raises(ConfigError, match=message):
            predict.main([*flags, *wrong])


def test_submission_has_the_score_of_eval(tmp_path):
    """Of images of a test split, for which labels turn up afterwards, the official program finds and scores it. The
    images' sizes are no multiples of 32."""
    evaluation = pytest.importorskip("cityscapesscripts.evaluation.evalPixelLevelSemanticLabeling")
    from official_evaluation import official_scores

    from rtseg.cli import eval as eval_command
    from rtseg.models.weights import save_weights

    images, output = tmp_path / "leftImg8bit" / "test", tmp_path / "out"
    for seed, city in enumerate(("ulm", "bochum")):
        write_png(images / city / f"{city}_000003_000019_leftImg8bit.png", picture(seed, 120, 250))
    checkpoint = tmp_path / "net.ckpt"
    save_weights(checkpoint, varied_network("mmseg", 19, picture(0, 128, 256)))
    assert predict.main([str(images), f"--ckpt_file={checkpoint}", "--submit=1", f"--output_path={output}"]) == 0
    names = ["bochum_000003_000019", "ulm_000003_000019"]
    assert files_in(output) == [f"submit/{name}_labelIds.png" for name in names]

    labels = []
    for name in names:
        ids = Image.open(output / "submit" / f"{name}_labelIds.png")
        assert (ids.mode, ids.size) == ("L", (250, 120))
        label = np.roll(np.array(ids), (2, 1), axis=(0, 1))
        label[:10] = 3  # out of roi, not scored
        labels.append(write_png(tmp_path / "gtFine" / "val" / name[:-14] / f"{name}_gtFine_labelIds.png", label))
    (tmp_path / "leftImg8bit" / "val").symlink_to(images)

    arguments = SimpleNamespace(predictionPath=str(output / "submit"), predictionWalk=None)
    miou, accuracy, classes = official_scores(
        (evaluation.getPrediction(arguments, str(label)), label) for label in labels)
    assert 0.2 < miou < 0.9 and sum(iou > 0.1 for iou in classes.values()) > 9
    assert eval_command.main([f"--dataset={tmp_path}", f"--resume_path={checkpoint}", "--save_mask=0",
                           f"--output_path={output}"]) == 0
    lines = (output / "eval_results.txt").read_text().splitlines()[2:-1]
    scores = dict(line.rsplit(maxsplit=1) for line in lines if not line.startswith("-"))
    expected = {**classes, "mIoU": miou, "pixAcc": accuracy}
    assert 0 < float(scores.pop("mAcc")) < 100 and 0 < float(scores.pop("fwIoU")) < 100  # the official ones lack these
    assert scores == {name: "n/a" if np.isnan(score) else f"{100 * score:.2f}" for name, score in expected.items()}


@pytest.mark.parametrize("flags, message", [
    (["--ckpt_file=a", "--model_path=b.onnx"], "expected one of them, found both"),
    (["--model_path=b.om"], "b.om: expected an .onnx or .mindir file or one of fast_scnn_camvid; "
     ".om and .ms files run in the C"),
    (["--model_path=b.onnx", "--device_target=Ascend"], "--device_target Ascend: expected CPU for an .onnx"),
    (["--ckpt_file=a", "--model=unet"], "--model unet: there is no unet.yaml"),
    (["--ckpt_file=a", "--epochs=3"], None),
])
def test_wrong_usage(flags, message, tmp_path):
    write_png(tmp_path / "a.png", picture(0))
    with pytest.raises((ConfigError, SystemExit), match=message or "2"):
        predict.main([str(tmp_path / "a.png"), *flags])


def test_wrong_files_end_before_anything_is_written(tmp_path):
    write_png(tmp_path / "a.png", picture(0))
    (tmp_path / "b.onnx").write_text("no model")
    flags = [str(tmp_path / "a.png"), f"--model_path={tmp_path / 'b.onnx'}"]
    with pytest.raises(ConfigError, match="--output_path .*: expected a folder that can be written; File exists"):
        predict.main([*flags, f"--output_path={tmp_path / 'a.png'}"])
    (tmp_path / "b.json").write_text(ModelMetadata.describe(
        model="fast_scnn", variant="mmseg", input_type="uint8", output_type="class_map", size=(1, 32, 64),
        mean=(0.5,) * 3, std=(0.25,) * 3, dataset="garden", classes=("grass", "ball", "sky"),
        palette=PALETTE).to_json())
    if importlib.util.find_spec("onnxruntime"):
        with pytest.raises(DataError, match="b.onnx: expected an ONNX model, found a file that ONNX Runtime cannot"):
            predict.main([*flags, f"--output_path={tmp_path / 'out'}"])
    assert files_in(tmp_path) == ["a.png", "b.json", "b.onnx"]


# --- the way from files to results, with a fake for the network ---

class Brightness:
    """Sees class 1 where it is bright; refuses images less than 8 pixels high."""

    def __init__(self, batch_size=1):
        self.batch_size = batch_size

    def predict(self, images):
        assert 1 <= len(images) <= self.batch_size
        if any(image.shape[0] < 8 for image in images):
            raise DataError("too low")
        return [Prediction((image[..., 0] > 127).astype(np.uint8)) for image in images]


@pytest.mark.parametrize("batch_size, num_workers", [(1, 0), (1, 2), (3, 2)])
def test_bad_images_do_not_stop_the_others(batch_size, num_workers):
    def read(path):
        if path == "bad":
            raise DataError("bad: cannot be read")
        return np.full((4 if path == "low" else 8, 8, 3), 200 if path == "light" else 20, np.uint8)
    written = {}
    names = ["light", "bad", "dark"] + ["low"] * (batch_size == 1)
    problems = list(predict_images(
        Brightness(batch_size), [InputFile(name, name) for name in names], read=read, num_workers=num_workers,
        write=lambda image: written.update({image.file.name: image.prediction.classes.mean()})))
    assert written == {"light": 1, "dark": 0}
    assert sorted(map(str, filter(None, problems))) == ["bad: cannot be read"] + ["low: too low"] * (batch_size == 1)


@pytest.fixture
def clip(tmp_path):
    """A video of six frames of 48x80, dark and light in turn, at 12.5 frames per second."""
    path = tmp_path / f"clip{video_format()[0]}"
    with writing_video(path, (48, 80), rate=12.5) as add:
        for i in range(6):
            add(np.full((48, 80, 3), 240 if i % 2 else 10, np.uint8))
    return path


@pytest.mark.parametrize("batch_size", [1, 4])
def test_video_keeps_size_rate_and_order(clip, tmp_path, batch_size):
    steps = list(predict_video(Brightness(batch_size), InputFile(clip, "clip"), folder=tmp_path / "out",
                               palette=PALETTE))
    assert steps == [None] * 6
    video = Video(tmp_path / "out" / "overlay" / f"clip_overlay{video_format()[0]}")
    assert (video.size, video.rate, video.frames) == ((48, 80), 12.5, 6)
    expected = {0: (5, 35, 5), 1: (247, 160, 120)}  # half grass on 10, half ball on 240
    for i in range(6):
        assert np.abs(video.read().astype(int).mean(axis=(0, 1)) - expected[i % 2]).max() < 8  # compressed
    assert video.read() is None
    video.close()


def test_a_video_that_ends_early_is_done_so_far_and_named(clip, tmp_path, monkeypatch):
    monkeypatch.setattr(Video, "_decode", lambda video, decode=Video._decode: None if video.capture.get(
        cv2.CAP_PROP_POS_FRAMES) >= 3 else decode(video))
    monkeypatch.setattr("rtseg.inference.prediction.Video", lambda path: SimpleNamespace(
        **{name: getattr(video, name) for name in ("read", "close", "size")}, frames=100, rate=12.5)
        if (video := Video(path)) else None)
    *steps, problem = predict_video(Brightness(), InputFile(clip, "clip"), folder=tmp_path / "out", palette=PALETTE)
    assert steps == [None] * 3 and "is damaged after 3 of 100 frames; only these are done" in str(problem)
    assert len(files_in(tmp_path / "out")) == 1


def test_a_video_that_the_network_refuses_leaves_nothing(tmp_path):
    with writing_video(tmp_path / f"low{video_format()[0]}", (4, 80), rate=10) as add:
        add(np.zeros((4, 80, 3), np.uint8))
    file = InputFile(tmp_path / f"low{video_format()[0]}", "low")
    with pytest.raises(DataError, match="too low"):
        list(predict_video(Brightness(), file, folder=tmp_path / "out", palette=PALETTE))
    assert files_in(tmp_path / "out") == []


def test_a_video_of_a_size_that_cannot_be_written_stops_no_other(clip, tmp_path):
    flat = tmp_path / "flat.avi"
    writer = cv2.VideoWriter(str(flat), cv2.VideoWriter_fourcc(*"MJPG"), 10, (64, 1))
    writer.write(np.zeros((1, 64, 3), np.uint8))
    writer.release()
    segmenter = SimpleNamespace(class_names=("a", "b"), palette=PALETTE, batch_size=1, predict=Brightness().predict)
    problem, *steps = predict_files(segmenter, [InputFile(flat, "flat"), InputFile(clip, "clip")],
                                    folder=tmp_path / "out", num_workers=0, kinds=())
    assert "OpenCV cannot write" in str(problem) and "of 64x1 at 10 frames/s" in str(problem) and steps == [None] * 6
    assert files_in(tmp_path / "out") == ["legend.png", f"overlay/clip_overlay{video_format()[0]}"]


@pytest.mark.parametrize("rate, found", [(0.004, 0.01), (29.97, 29.97), (66.6667, 67), (239.513, 240)])
def test_rates_that_phones_report_can_be_written(tmp_path, rate, found):
    """MPEG-4 takes no 239513/1000; a time lapse may have a frame in minutes."""
    path = tmp_path / f"slow{video_format()[0]}"
    with writing_video(path, (48, 80), rate=rate) as add:
        add(np.zeros((48, 80, 3), np.uint8))
    video = Video(path)
    assert (round(video.rate, 2), video.frames) == (found, 1)
    video.close()


def test_a_video_whose_path_is_not_utf8_is_refused(clip, tmp_path):
    """As of an archive that was packed where names are GBK; OpenCV would end the process."""
    path = tmp_path / (os.fsdecode("道路".encode("gbk")) + clip.suffix)
    shutil.copy(clip, path)
    with pytest.raises(DataError, match="expected a path in UTF-8"):
        Video(path)
    with pytest.raises(DataError, match="expected a path in UTF-8"):
        with writing_video(path, (48, 80), rate=10):
            pass
    shutil.copy(clip, tmp_path / f"道路{clip.suffix}")
    Video(tmp_path / f"道路{clip.suffix}").close()


def test_a_video_that_is_not_written_completely_is_an_error(tmp_path):
    """OpenCV silently drops frames of another size; it is as silent about a full disk."""
    with pytest.raises(UserError, match="expected to write 2 frames, but [01] are in the file; is the disk full?"):
        with writing_video(tmp_path / f"a{video_format()[0]}", (48, 80), rate=10) as add:
            add(np.zeros((48, 80, 3), np.uint8))
            add(np.zeros((16, 16, 3), np.uint8))
    assert files_in(tmp_path) == []


# --- which files, and their names ---

def test_inputs_are_found_once_and_named_apart(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("b/x.png", "a/x.JPG", "a/X.jpeg", "a/x_2.png", "a/.hidden.png", "a/notes.txt", "a/.git/y.png",
                 "out/overlay/x_overlay.png", "out/z.mp4", f"{'l' * 240}.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    files, problems = find_inputs(["b/x.png", ".", "a/*.JPG", "a/notes.txt", "none*"], [tmp_path / "out" / "overlay"])
    assert [(str(file.path), file.name, file.is_video) for file in files] == [
        ("b/x.png", "x", False), (f"{'l' * 240}.png", "l" * 180, False), ("a/X.jpeg", "X_3", False),
        ("a/x.JPG", "x_4", False), ("a/x_2.png", "x_2", False), ("out/z.mp4", "z", True),
        ("a/notes.txt", "notes", False)]
    assert len(problems) == 1 and problems[0].startswith("none*: expected an image")
    assert find_inputs(["out/overlay", "out/**/*.png"], [tmp_path / "out" / "overlay"])[0] == []


def test_names_of_a_submission(tmp_path):
    suffix = "_leftImg8bit.png"
    files = [InputFile(tmp_path / name, "x") for name in (
        f"a/ulm_000000_000019{suffix}", f"b/ulm_000000_000019{suffix}", "ulm_000000_000019_gtFine_labelIds.png",
        suffix)]
    named, problems = for_submission(files, suffix)
    assert named == [InputFile(files[0].path, "ulm_000000_000019")]
    assert ["has the same name as" in problem for problem in problems] == [True, False, False]
    assert problems[1].endswith("expected an image with the data set's own name, *_leftImg8bit.png, for a submission")


def test_a_image_is_turned_as_the_camera_noted(tmp_path):
    upright = np.zeros((40, 24, 3), np.uint8)
    upright[:8] = 255  # light above
    for orientation, turns in ((1, 0), (6, 1), (3, 2), (8, 3)):
        exif = Image.Exif()
        exif[0x0112] = orientation
        Image.fromarray(np.rot90(upright, turns)).save(tmp_path / "a.jpg", exif=exif, quality=95)
        image = read_upright(tmp_path / "a.jpg")
        assert image.shape == (40, 24, 3) and np.abs(image.astype(int) - upright).max() < 30
