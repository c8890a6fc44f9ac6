"""rtseg demo: what the page shows, and the page itself in a headless Chromium.

The browser's tests need `pip install -r requirements-demo.txt selenium` and Debian's chromium and chromium-driver.
"""
import importlib.util
import json
import os
import re
import shutil
import socket
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from data_helpers import write_png
from PIL import Image
from script_helpers import PROJECT

from rtseg.inference.metadata import ModelMetadata, write_metadata
from rtseg.tools.demo import Models, legend, main, save_class_map, segment_video, summary, view
from rtseg.tools.fetch_weights import published_files
from rtseg.utils.errors import ConfigError, DataError
from rtseg.visualization.video import Video, writing_video

onnx = pytest.importorskip("onnx", reason="the package onnx is not installed")
MISSING = [name for name in ("gradio", "selenium") if importlib.util.find_spec(name) is None]
MISSING += [name for name in ("chromium", "chromedriver") if shutil.which(name) is None]
in_browser = pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")


def write_model(path, output_type="logits"):
    """A model for 64x32 pixels with the classes red, <green> and blue: the largest of a pixel's colours."""
    helper, types = onnx.helper, onnx.TensorProto
    nodes = [helper.make_node("Cast", ["x"], ["floats"], to=types.FLOAT),
             helper.make_node("Transpose", ["floats"], ["output" if output_type == "logits" else "logits"],
                              perm=[0, 3, 1, 2])]
    output = helper.make_tensor_value_info("output", types.FLOAT, [1, 3, 32, 64])
    if output_type == "class_map":
        nodes += [helper.make_node("ArgMax", ["logits"], ["classes"], axis=1, keepdims=0),
                  helper.make_node("Cast", ["classes"], ["output"], to=types.UINT8)]
        output = helper.make_tensor_value_info("output", types.UINT8, [1, 32, 64])
    image = helper.make_tensor_value_info("x", types.UINT8, [1, 32, 64, 3])
    model = helper.make_model(helper.make_graph(nodes, "g", [image], [output]),
                              opset_imports=[helper.make_opsetid("", 13)])
    model.ir_version = 7
    onnx.save(model, str(path))
    write_metadata(path, ModelMetadata.describe(
        model="tiny", variant="tiny", input_type="uint8", output_type=output_type, size=(1, 32, 64),
        mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), dataset="colours", classes=("red", "<green>", "blue"),
        palette=((200, 0, 0), (0, 200, 0), (0, 0, 200))))
    return path


def picture(width=64):
    """Three quarters red, the rest blue."""
    pixels = np.zeros((width // 2, width, 3), np.uint8)
    pixels[:, :width * 3 // 4, 0] = pixels[:, width * 3 // 4:, 2] = 255
    return pixels


def write_clip(path):
    with writing_video(path, (32, 64), rate=10) as add:
        for _ in range(3):
            add(picture())
    return path


def test_what_is_shown_of_a_result(tmp_path):
    result = Models()(str(write_model(tmp_path / "net.onnx")), picture())
    table = legend(result.segmentation)
    assert re.findall(r"<td>(\w+)</td><td>([\d.]+ %)", table) == [("red", "75.0 %"), ("blue", "25.0 %")]
    assert "rgb(200,0,0)" in table and "green" not in table
    assert re.fullmatch(r"Confidence: 100.0 % on average · Latency: \d+ ms · 64x32 pixels", summary(result))
    assert np.asarray(view(result.segmentation, "Classes", alpha=0.5))[0, 0].tolist() == [200, 0, 0]
    assert np.asarray(view(result.segmentation, "Overlay", alpha=0.0))[0, 0].tolist() == [255, 0, 0]
    assert np.asarray(view(result.segmentation, "Confidence", alpha=0.5)).tolist() == np.full((32, 64), 255).tolist()
    path = save_class_map(result.segmentation, tmp_path)
    np.testing.assert_array_equal(np.asarray(Image.open(path)), np.repeat([[0] * 48 + [2] * 16], 32, axis=0))


def test_class_names_are_no_html(tmp_path):
    green = np.full((32, 64, 3), (0, 255, 0), np.uint8)
    assert "<td>&lt;green&gt;</td>" in legend(Models()(str(write_model(tmp_path / "net.onnx")), green).segmentation)


def test_a_model_of_class_maps_has_no_confidence(tmp_path):
    result = Models()(str(write_model(tmp_path / "net.onnx", "class_map")), picture())
    assert summary(result).startswith("Latency: ")
    assert np.asarray(view(result.segmentation, "Confidence", alpha=1.0))[0, 0].tolist() == [200, 0, 0]  # the overlay


def test_models_that_can_be_chosen(tmp_path):
    path = str(write_model(tmp_path / "net.onnx"))
    models = Models([path])
    assert models.names[:2] == [path, "fast_scnn_camvid"]
    assert set(models.names[2:]) == {name for name, file in published_files().items() if not file.backbone_only}
    assert models.open(path, confidence=True) is models.open(f" {path} ", confidence=True)
    with pytest.raises(ConfigError, match="expected a name of the list or a path, found nothing"):
        models.open(" ", confidence=True)
    with pytest.raises(DataError, match="expected an exported model at .*none.onnx, found none"):
        models.open(str(tmp_path / "none.onnx"), confidence=True)


def test_videos_become_videos_that_browsers_play(tmp_path):
    models, clip = Models(), write_clip(tmp_path / "clip.avi")
    *previews, (last, path) = segment_video(models, str(write_model(tmp_path / "net.onnx")), path=clip,
                                                folder=tmp_path)
    assert previews[0][1] is None and path.endswith("overlay.webm") and last.segmentation.confidence is None
    video = Video(Path(path))
    assert (video.size, video.frames) == ((32, 64), 3)
    red, green, blue = video.read()[16, 16]
    assert red > 180 and green < 60 and blue < 60
    video.close()
    (tmp_path / "no.mp4").write_bytes(b"no")
    with pytest.raises(DataError, match="expected a video"):
        list(segment_video(models, str(tmp_path / "net.onnx"), path=tmp_path / "no.mp4", folder=tmp_path))


def test_wrong_usage(tmp_path, monkeypatch):
    with pytest.raises(DataError, match="none.onnx: expected a .ckpt, .onnx or .mindir file, found none"):
        main([str(tmp_path / "none.onnx")])
    with pytest.raises(ConfigError, match="--port: expected an integer >= 1 and <= 65535, found '0'"):
        main(["--port=0"])
    monkeypatch.setitem(sys.modules, "gradio", None)
    with pytest.raises(ConfigError, match=r"needs the package gradio, on Python 3.10 or later .* pip install 'rtseg\["):
        main([])


# In the browser

@contextmanager
def chromium(folder):
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                     "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream",
                     "--window-size=1280,1000", f"--user-data-dir={folder / 'profile'}"):
        options.add_argument(argument)
    options.add_experimental_option("prefs", {"download.default_directory": str(folder)})
    options.set_capability("goog:loggingPrefs", {"performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    try:
        yield driver
    finally:
        driver.quit()


@contextmanager
def demo(*arguments, **variables):
    """Runs the command; yields the page's address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "rtseg.tools.demo", *arguments, f"--port={port}", "--open_browser=0"]
    with subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True,
                          env={**os.environ, "PYTHONPATH": str(PROJECT / "src"), **variables}) as process:
        try:
            line = process.stdout.readline()
            assert line == f"http://127.0.0.1:{port}  (Ctrl+C ends it)\n"
            yield line.split()[0]
        finally:
            process.terminate()


@in_browser
def test_page(tmp_path):
    """An image, its legend, another view, the class map, a video, a wrong path; and no request to anywhere else."""
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys
    from selenium.webdriver.support.ui import WebDriverWait

    write_png(tmp_path / "street.png", picture(128))
    clip = write_clip(tmp_path / "clip.webm")
    with demo(str(write_model(tmp_path / "net.onnx"))) as address, chromium(tmp_path) as driver:
        def find(selector):
            return WebDriverWait(driver, 90).until(lambda _: driver.find_elements(By.CSS_SELECTOR, selector))[0]

        def until(condition):
            return WebDriverWait(driver, 90).until(lambda _: condition())

        driver.get(address)
        find("#image input[type=file]").send_keys(str(tmp_path / "street.png"))
        until(lambda: find("#legend").text.splitlines() == ["red 75.0 %", "blue 25.0 %"])
        until(lambda: re.search(r"Confidence: 100.0 % .* Latency: \d+ ms · 128x64 pixels", find("#numbers").text))
        overlay = find("#seen img").get_attribute("src")
        assert overlay.startswith(address)
        find("input[type=radio][value=Classes]").click()
        until(lambda: find("#seen img").get_attribute("src") != overlay)

        find("#download").click()
        until(lambda: (tmp_path / "class_map.png").exists())
        classes = np.asarray(Image.open(tmp_path / "class_map.png"))
        np.testing.assert_array_equal(classes, np.repeat([[0] * 96 + [2] * 32], 64, axis=0))

        driver.find_element(By.XPATH, "//button[@role='tab'][text()='Video']").click()
        find("#video input[type=file]").send_keys(str(clip))
        find("#video video")
        find("#run").click()
        video = find("#seen_video video")
        until(lambda: driver.execute_script("return arguments[0].videoWidth", video) == 64)  # the browser decodes it

        model = find("input[aria-label=Model]")
        model.send_keys(Keys.CONTROL, "a")
        model.send_keys("/none.onnx", Keys.ENTER)
        until(lambda: "expected an exported model at /none.onnx, found none" in find("body").text)

        events = [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
        requests = [event["params"] for event in events if event["method"] == "Network.requestWillBeSent"]
        asked = {request["request"]["url"] for request in requests if request["documentURL"].startswith(address)}
        assert len(asked) > 5
        assert [url for url in asked if not url.startswith((address, "data:", "blob:"))] == []


@in_browser
def test_page_listens_on_this_machine_only_and_leaves_nothing(tmp_path):
    (tmp_path / "tmp").mkdir()
    with demo(str(write_model(tmp_path / "net.onnx")), TMPDIR=str(tmp_path / "tmp")) as address:
        assert list((tmp_path / "tmp").glob("rtseg-demo-*"))
        port = int(address.rpartition(":")[2])
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
            local, state = line.split()[1], line.split()[3]
            if state == "0A" and int(local.split(":")[1], 16) == port:
                assert local.split(":")[0] == "0100007F"
                break
        else:
            pytest.fail(f"nobody listens on {port}")
    assert list((tmp_path / "tmp").glob("rtseg-demo-*")) == []
