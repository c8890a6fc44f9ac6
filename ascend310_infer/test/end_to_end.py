"""Runs the built program, with OpenVINO, on tiny models whose answers NumPy knows, and through its failure cases.

    python end_to_end.py <program>

Exit code 77, which ctest reports as skipped, if the Python packages that make the models are missing.
"""
import random
import re
import resource
import subprocess
import sys
from pathlib import Path

import program_test

try:
    import numpy as np
    import onnx
    from make_test_model import class_map, logits, make_metadata, make_model
except ImportError as error:
    print(f"skipped: {error}; pip install onnx openvino")
    sys.exit(77)

HEIGHT, WIDTH = 6, 10


class EndToEnd(program_test.ProgramTest):
    def setUp(self):
        super().setUp()
        self.report = self.folder / "time_Result" / "test_perform_static.txt"

    def write_model(self, form="deploy", batch=1, height=HEIGHT):
        onnx.save(make_model(form, batch, height, WIDTH), self.model)

    def write_images(self, count, form="deploy"):
        """Writes <number>_img.bin files; returns the images, uint8 (count, H, W, 3)."""
        images = np.random.default_rng(7).integers(0, 256, (count, HEIGHT, WIDTH, 3), dtype=np.uint8)
        for i, image in enumerate(images):
            pixels = image if form == "deploy" else image.transpose(2, 0, 1).astype("<f4")
            (self.data / f"{i:03}_img.bin").write_bytes(pixels.tobytes())
        return images

    def result(self, i, dtype):
        return np.fromfile(self.results / f"{i:03}_img_0.bin", dtype)

    def assert_failure(self, done, code, message):
        """One line on stderr that holds `message`, and that exit code."""
        self.assertEqual((done.returncode, done.stderr.count("\n")), (code, 1), done.stderr)
        self.assertTrue(done.stderr.startswith("error: "), done.stderr)
        self.assertIn(message, done.stderr)

    def test_class_maps_at_every_batch_size(self):
        images = self.write_images(5)
        for batch in (1, 2, 4):
            with self.subTest(batch=batch):
                self.write_model(batch=batch)
                done = self.run_program()
                self.assertEqual((done.returncode, done.stderr), (0, ""))
                for i, expected in enumerate(class_map(images)):
                    np.testing.assert_array_equal(self.result(i, np.uint8), expected.ravel())
                self.assertEqual(len(list((self.results).iterdir())), 5)
                self.assertIn(f"images          5 in {-(-5 // batch)} runs of batch {batch}, ", done.stdout)

    def test_logits(self):
        self.write_model("float", batch=2)
        images = self.write_images(3, "float")
        self.assertEqual(self.run_program("--threads=1", "--device_type=CPU", "--precision=float32").returncode, 0)
        for i, expected in enumerate(logits(images)):
            np.testing.assert_array_equal(self.result(i, "<f4"), expected.ravel())

    def test_report(self):
        self.write_model()
        self.write_images(4)
        done = self.run_program()
        self.assertEqual(self.report.read_text(), done.stdout)
        number = r"[0-9]+\.[0-9]{3}"
        self.assertRegex(done.stdout, re.compile(
            rf"NN inference cost average time: {number} ms of infer_count 4\n"
            rf"model           .*net.onnx \(OpenVINO, CPU, float32\)\n"
            rf"input           uint8 \[1, 6, 10, 3\]\n"
            rf"output          uint8 \[1, 6, 10\]\n"
            rf"images          4 in 4 runs of batch 1, [0-9]+ in flight\n"
            rf"latency of run  mean {number} ms, median {number} ms, p90 {number} ms, p99 {number} ms\n"
            rf"per image       read {number} ms, preprocess {number} ms, postprocess {number} ms, write {number} ms\n"
            rf"inference only  {number} images/s\n"
            rf"with file I/O   {number} images/s\n\Z"))

    def test_loop_needs_no_data(self):
        self.write_model("float", batch=2)
        done = self.run_program("--loop=3", "--warmup", "0", dataset=None)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertIn("images          6 in 3 runs of batch 2, ", done.stdout)
        self.assertFalse((self.results).exists())

    def test_help(self):
        done = subprocess.run([self.program, "--help"], capture_output=True, text=True, timeout=10)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertIn("--model_path\n", done.stdout)

    def test_readme_tells_the_flags_and_defaults_of_help(self):
        text = subprocess.run([self.program, "--help"], capture_output=True, text=True, timeout=10).stdout
        flags = re.findall(r"^  --(\w+)\n      .*?(?: \(default (\S+)\))?$", text, re.MULTILINE)
        readme = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
        rows = re.findall(r"^\| `--(\w+)` \| ?`?([^` |]*)`? ?\|", readme, re.MULTILINE)
        self.assertEqual(sorted(rows), sorted(flags))
        self.assertEqual(len(flags), 20)

    def test_wrong_usage(self):
        self.write_model()
        self.write_images(1)
        self.assert_failure(self.run_program("--lop=3"), 2, 'unknown argument "--lop=3"')
        self.assert_failure(self.run_program("--device_type=Ascend"), 2, "OpenVINO")

    def test_bad_inputs_are_listed_and_the_others_done(self):
        self.write_model()
        images = self.write_images(4)
        (self.data / "001_img.bin").write_bytes(b"short")
        (self.data / "003_img.bin").unlink()
        (self.data / "003_img.bin").symlink_to("nowhere")
        done = self.run_program()
        self.assertEqual(done.returncode, 3)
        self.assertEqual(done.stderr, (
            f"bad input: {self.data}/001_img.bin: expected 180 bytes, found 5; was it preprocessed for this model's "
            f"input size and type?\nbad input: {self.data}/003_img.bin: cannot be read: No such file or directory\n"
            "error: 2 of 4 inputs could not be used or scored; all other results are in ./result_Files\n"))
        for i in (0, 2):
            np.testing.assert_array_equal(self.result(i, np.uint8), class_map(images[i:i + 1]).ravel())
        self.assertEqual(len(list((self.results).iterdir())), 2)

    def test_no_input(self):
        self.write_model()
        self.assert_failure(self.run_program(), 3, f"no *_img.bin, .png, .jpg or .jpeg file in {self.data}")

    def test_missing_model(self):
        self.write_images(1)
        self.assert_failure(self.run_program(), 1, f"no model file {self.model}")

    def test_open_shapes(self):
        self.write_model(height=0)
        self.write_images(1)
        self.assert_failure(self.run_program(), 1, "export it with a fixed batch, height and width")

    def test_open_batch(self):
        images = self.write_images(5)
        self.write_model(batch="batch")
        done = self.run_program()  # without metadata
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertIn(" runs of batch 1, ", done.stdout)
        self.model.with_suffix(".json").write_text(make_metadata("deploy", 2, HEIGHT, WIDTH))
        for flags, batch in ((), 2), (("--batch_size=4",), 4):
            done = self.run_program(*flags)
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            self.assertIn(f" runs of batch {batch}, ", done.stdout)
            for i, expected in enumerate(class_map(images)):
                np.testing.assert_array_equal(self.result(i, np.uint8), expected.ravel())
        self.write_model(batch=2)
        self.assert_failure(self.run_program("--batch_size=4"), 2, "are for a model with metadata that leaves them")

    def test_open_size(self):
        """At two sizes that the metadata does not name, next to the one that it does."""
        self.model.with_suffix(".json").write_text(make_metadata("head", 1, 32, 64))
        self.write_model("head", height=0)
        for size, flags in (((32, 64), ()), ((96, 64), ("--image_height=96",)),
                            ((1024, 2048), ("--image_height", "1024", "--image_width", "2048"))):
            done = self.run_program("--loop=1", *flags, dataset=None)
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            self.assertIn(f"input           uint8 [1, {size[0]}, {size[1]}, 3]\n", done.stdout)
        image = np.zeros((64, 96, 3), np.uint8)
        image[:, 8:] = [0, 0, 255]
        (self.data / "000_img.bin").write_bytes(image.tobytes())
        self.assertEqual(self.run_program("--image_height=64", "--image_width=96").returncode, 0)
        classes = self.result(0, np.uint8).reshape(64, 96)
        self.assertEqual((classes[0, 0], classes[-1, -1]), (3, 2))
        self.assert_failure(self.run_program("--image_width=72"), 2, "expect multiples of 32 up to 16384, found")
        self.write_model("head", height=32)
        self.assert_failure(self.run_program("--image_width=128"), 2, "the model takes uint8 [1, 32, 10, 3]; export it")

    def test_result_folder_that_cannot_be_made(self):
        self.write_model()
        self.write_images(1)
        self.assert_failure(self.run_program(f"--result_path={self.model}/results"), 1, "Not a directory")

    def test_a_model_that_its_metadata_does_not_describe(self):
        """Of the same number of bytes, height and width being exchanged: also for .bin files."""
        self.write_model()
        self.model.with_suffix(".json").write_text(make_metadata("deploy", 1, WIDTH, HEIGHT))
        self.write_images(1)
        self.assert_failure(self.run_program(), 1, "the model takes uint8 [1, 6, 10, 3], which is not what")

    def test_a_score_that_cannot_be_printed(self):
        self.write_model()
        with open("/dev/full", "w") as full:
            done = subprocess.run([self.program, f"--model_path={self.model}", "--loop=1"], cwd=self.folder,
                                  stdout=full, stderr=subprocess.PIPE, text=True, timeout=100)
        self.assert_failure(done, 1, "cannot write to stdout: No space left on device")

    def test_full_disk(self):
        """A limit on the size of files, the same to the program as a full disk."""
        self.write_model()
        self.write_images(3)
        done = self.run_program(preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (50, 50)))
        self.assert_failure(done, 1, "_img_0.bin: File too large")  # of the image that was first
        self.assertEqual(list((self.results).iterdir()), [])

    def test_mutated_models_never_crash_it(self):
        self.write_model()
        self.write_images(1)
        good = self.model.read_bytes()
        rng = random.Random(5)
        codes = set()
        for round_number in range(24):
            model = bytearray(good)
            if round_number % 2:
                del model[rng.randrange(len(model)):]
            else:
                for _ in range(3):
                    model[rng.randrange(len(model))] = rng.randrange(256)
            self.model.write_bytes(model)
            done = self.run_program("--warmup=0")
            codes.add(done.returncode)
            self.assertIn(done.returncode, (0, 1, 3), f"round {round_number}: {done.stderr}")  # 3: another input size
        self.assertIn(1, codes)


if __name__ == "__main__":
    program_test.main(sys.argv)
