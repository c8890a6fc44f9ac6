"""Runs the built program, with OpenVINO, from PNG and JPEG files to class maps, masks, overlays and scores.

    python end_to_end_images.py <program>

What it must give is computed here by NumPy and OpenCV. Exit code 77, which ctest reports as skipped, if the Python
packages that this needs are missing.
"""
import json
import os
import resource
import sys
import unittest

import program_test

try:
    import cv2
    import numpy as np
    import onnx
    from make_test_model import MEAN, PALETTE, STD, STRIDE, class_map, logits, make_metadata, make_model
    from PIL import Image
except ImportError as error:
    print(f"skipped: {error}; pip install onnx openvino opencv-python-headless pillow")
    sys.exit(77)

HEIGHT, WIDTH = 32, 64


def street(height, width, seed=0):
    """An image of smooth colours, uint8 (height, width, 3)."""
    rng = np.random.default_rng(seed)
    return cv2.resize(rng.integers(0, 256, (5, 7, 3), dtype=np.uint8), (width, height), interpolation=cv2.INTER_CUBIC)


def letterbox(image):
    """The model's input, uint8, and the height and width of the image in it."""
    scale = min(HEIGHT / image.shape[0], WIDTH / image.shape[1])
    height, width = (max(1, round(length * scale)) for length in image.shape[:2])
    resized = image
    if (height, width) != image.shape[:2]:
        resized = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
    color = [round(255 * mean) for mean in MEAN]
    return cv2.copyMakeBorder(resized, 0, HEIGHT - height, 0, WIDTH - width, cv2.BORDER_CONSTANT, value=color), (
        height, width)


def upsample(scores, align_corners):
    """float32 (C, h, w) -> (C, h * STRIDE, w * STRIDE), bilinear; the definition, one axis after the other."""
    for axis in (1, 2):
        old = scores.shape[axis]
        new = old * STRIDE
        position = np.arange(new) * ((old - 1) / (new - 1)) if align_corners else (
            np.clip((np.arange(new) + 0.5) / STRIDE - 0.5, 0, old - 1))
        first = np.minimum(position.astype(int), old - 1)
        second = np.minimum(first + 1, old - 1)
        weight = (position - first).reshape([-1 if i == axis else 1 for i in range(3)])
        scores = (1 - weight) * scores.take(first, axis) + weight * scores.take(second, axis)
    return scores


def expected_class_map(image, form="deploy", align_corners=False):
    """What the program must find: uint8 of the image's size."""
    padded, (height, width) = letterbox(image)
    if form == "deploy":
        classes = class_map(padded[None])[0]
    elif form == "float":
        classes = logits((padded[None] / 255 - MEAN) / STD)[0].argmax(0).astype(np.uint8)
    else:
        classes = upsample(logits(padded[None, ::STRIDE, ::STRIDE])[0], align_corners).argmax(0).astype(np.uint8)
    valid = classes[:height, :width]
    if (height, width) == image.shape[:2]:
        return valid
    return cv2.resize(valid, image.shape[1::-1], interpolation=cv2.INTER_NEAREST_EXACT)


class Images(program_test.ProgramTest):
    def write_model(self, form="deploy", batch=1, align_corners=False):
        onnx.save(make_model(form, batch, HEIGHT, WIDTH), self.model)
        self.model.with_suffix(".json").write_text(make_metadata(form, batch, HEIGHT, WIDTH, align_corners))

    def write_images(self, count=4):
        images = [street(HEIGHT, WIDTH, i) for i in range(count)]
        for i, image in enumerate(images):
            Image.fromarray(image).save(self.data / f"{i}.png")
        return images

    def succeed(self, *flags, **options):
        done = self.run_program(*flags, **options)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return done.stdout

    def class_map(self, name):
        with Image.open(self.results / "class_map" / f"{name}_class_map.png") as file:
            self.assertEqual(file.mode, "L")
            return np.array(file)

    def written(self):
        return sorted(str(path.relative_to(self.results)) for path in self.results.rglob("*") if path.is_file())

    def test_class_maps_of_every_form_and_batch_size(self):
        images = self.write_images(5)
        for form in ("deploy", "float", "head"):
            for batch in (1, 2, 4):
                for align_corners in (False, True) if form == "head" else (False,):
                    with self.subTest(form=form, batch=batch, align_corners=align_corners):
                        self.write_model(form, batch, align_corners)
                        self.succeed()
                        for i, image in enumerate(images):
                            np.testing.assert_array_equal(self.class_map(i), expected_class_map(image, form,
                                                                                                align_corners))

    def test_every_kind_of_file_is_read_as_opencv_reads_it(self):
        image = street(HEIGHT, WIDTH)
        rgb, grey = Image.fromarray(image), Image.fromarray(image).convert("L")
        files = {"rgb.png": rgb, "grey.png": grey, "alpha.png": rgb.copy(), "grey_alpha.png": grey.convert("LA"),
                 "palette.png": rgb.quantize(50), "bits.png": grey.convert("1"), "rgb_jpeg.jpg": rgb,
                 "grey_jpeg.JPG": grey, "cmyk.jpeg": rgb.convert("CMYK")}
        files["alpha.png"].putalpha(grey)
        for name, file in files.items():
            file.save(self.data / name)
        cv2.imwrite(str(self.data / "bits16.png"), image.astype(np.uint16) * 257 + 3)
        self.write_model()
        self.succeed()
        for path in self.data.iterdir():
            decoded = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
            with self.subTest(path.name):
                np.testing.assert_array_equal(self.class_map(path.stem), expected_class_map(decoded))

    def test_other_sizes_are_letterboxed(self):
        sizes = [(64, 128), (16, 32), (100, 90), (31, 200), (33, 64), (7, 5), (200, 333), (32, 63), (45, 90)]
        for form in ("deploy", "float", "head"):
            self.write_model(form)
            for i, (height, width) in enumerate(sizes):
                Image.fromarray(street(height, width, i)).save(self.data / f"{i}.png")
            self.succeed()
            for i, size in enumerate(sizes):
                with self.subTest(form=form, size=size):
                    found, expected = self.class_map(i), expected_class_map(street(*size, i), form)
                    self.assertEqual(found.shape, expected.shape)
                    np.testing.assert_array_equal(found, expected)

    def test_masks_and_overlays(self):
        image = street(40, 50)
        Image.fromarray(image).save(self.data / "a.png")
        self.write_model()
        self.succeed("--save=mask,overlay")
        self.assertEqual(self.written(), ["mask/a_mask.png", "overlay/a_overlay.png"])
        colors = np.array(PALETTE, np.uint8)[expected_class_map(image)]
        np.testing.assert_array_equal(np.array(Image.open(self.results / "mask" / "a_mask.png")), colors)
        np.testing.assert_array_equal(np.array(Image.open(self.results / "overlay" / "a_overlay.png")),
                                      np.array(Image.blend(Image.fromarray(image), Image.fromarray(colors), 0.5)))

    def test_one_file(self):
        images = self.write_images()
        self.write_model("head")
        self.succeed(dataset=self.data / "2.png")
        self.assertEqual(self.written(), ["class_map/2_class_map.png"])
        np.testing.assert_array_equal(self.class_map(2), expected_class_map(images[2], "head"))

    def test_folders_below_and_earlier_results(self):
        (self.data / "city").mkdir()
        (self.data / ".hidden").mkdir()
        self.write_images(1)
        Image.fromarray(street(HEIGHT, WIDTH)).save(self.data / "city" / "b.png")
        Image.fromarray(street(HEIGHT, WIDTH)).save(self.data / ".hidden" / "c.png")
        self.write_model()
        self.results = self.data / "results"
        for _ in range(2):
            self.succeed(f"--result_path={self.results}")
            self.assertEqual(self.written(), ["class_map/0_class_map.png", "class_map/b_class_map.png"])

    def test_results_next_to_the_images(self):
        self.write_images(1)
        (self.data / "link").symlink_to(".")
        self.write_model()
        self.results = self.data
        for _ in range(2):
            self.succeed(f"--result_path={self.data}")
            self.assertEqual(self.written(), ["0.png", "class_map/0_class_map.png"])

    def test_images_of_the_same_name(self):
        self.write_images(2)
        Image.fromarray(street(HEIGHT, WIDTH)).save(self.data / "0.jpg")
        self.write_model()
        done = self.run_program()
        self.assertEqual((done.returncode, done.stderr), (3, (
            f"bad input: {self.data}/0.png: has the same name as {self.data}/0.jpg, and so would have the same "
            "results; rename one of them\nerror: 1 of 3 inputs could not be used or scored; all other results are in "
            "./result_Files\n")))
        self.assertEqual(len(self.written()), 2)

    def test_head_logits_of_bin_files_become_class_maps(self):
        images = [street(HEIGHT, WIDTH, i) for i in range(3)]
        for i, image in enumerate(images):
            (self.data / f"{i}_img.bin").write_bytes(image.tobytes())
        self.write_model("head", 2)
        self.succeed()
        for i, image in enumerate(images):
            found = np.fromfile(self.results / f"{i}_img_0.bin", np.uint8).reshape(HEIGHT, WIDTH)
            np.testing.assert_array_equal(found, expected_class_map(image, "head"))

    def table(self, images, labels):
        """The score that the program must print, by counting."""
        names = json.loads(self.model.with_suffix(".json").read_text())["classes"]
        found = np.concatenate([expected_class_map(image).ravel() for image in images])
        label = np.concatenate([label.ravel() for label in labels])
        found, label = found[label != 255], label[label != 255]
        rows = [("class", "IoU (%)")]
        ious = []
        for k, name in enumerate(names):
            union = ((found == k) | (label == k)).sum()
            rows.append((name, f"{100 * ((found == k) & (label == k)).sum() / union:.2f}" if union else "n/a"))
            ious += [((found == k) & (label == k)).sum() / union] if union else []
        rows += [("---------------", None), ("mIoU", f"{100 * np.mean(ious):.2f}"),
                 ("pixAcc", f"{100 * (found == label).mean():.2f}")]
        return "".join(f"{name:<6} {score:>8}\n" if score else f"{name}\n" for name, score in rows)

    def test_scores(self):
        rng = np.random.default_rng(1)
        sizes = [(HEIGHT, WIDTH), (50, 40), (20, 30)]
        images = [street(*size, i) for i, size in enumerate(sizes)]
        labels = [rng.choice([0, 1, 2, 255], size).astype(np.uint8) for size in sizes]
        folder = self.folder / "labels" / "city"
        folder.mkdir(parents=True)
        for image, name in zip(images, ("a", "b", "bonn_1_leftImg8bit")):
            Image.fromarray(image).save(self.data / f"{name}.png")
        (folder / "a_label.bin").write_bytes(labels[0].tobytes())
        indices = Image.fromarray(labels[1]).convert("P")
        indices.putdata(labels[1].ravel().tolist())
        indices.save(folder / "b.png")
        Image.fromarray(labels[2]).save(folder / "bonn_1_gtFine_labelTrainIds.png")
        self.write_model()
        out = self.succeed("--label_path=labels", "--save=none", "--report_json=report.json")
        self.assertTrue(out.endswith("\n\n" + self.table(images, labels)), out)
        self.assertEqual(self.written(), [])
        report = json.loads((self.folder / "report.json").read_text())
        self.assertIn(f"mIoU   {report['mean_iou']:8.2f}\npixAcc {report['pixel_accuracy']:8.2f}\n", out)

    def test_label_ids(self):
        image, ids = street(HEIGHT, WIDTH), np.random.default_rng(2).choice([9, 7, 30, 2, 50], (HEIGHT, WIDTH))
        labels = self.folder / "labels"
        labels.mkdir()
        Image.fromarray(image).save(self.data / "bonn_1_leftImg8bit.png")
        Image.fromarray(ids.astype(np.uint8)).save(labels / "bonn_1_gtFine_labelIds.png")
        self.write_model()
        classes = np.full(256, 255)
        classes[[7, 9, 30, 31]] = range(4)
        out = self.succeed("--label_path=labels", "--label_ids=7,9,30,31")
        self.assertTrue(out.endswith(self.table([image], [classes[ids]])), out)
        done = self.run_program("--label_path=labels")
        self.assertEqual(done.returncode, 3)
        self.assertIn("found bonn_1_gtFine_labelIds.png, which needs --label_ids\n", done.stderr)
        done = self.run_program("--label_path=labels", "--label_ids=7,9")
        self.assertEqual((done.returncode, done.stderr), (
            2, "error: --label_ids expects one number for each of the model's 4 classes, found 2\n"))

    def test_no_report_of_an_earlier_run_is_left(self):
        files = self.folder / "time_Result" / "test_perform_static.txt", self.folder / "reports" / "report.json"
        for file in files:
            file.parent.mkdir()
            file.write_text("of an earlier run")
        (self.data / "0.png").write_bytes(b"")
        self.write_model()
        self.assertEqual(self.run_program("--report_json=reports/report.json").returncode, 3)
        self.assertEqual([file.exists() for file in files], [False, False])

    def test_report_json_that_cannot_be_written(self):
        self.write_images(1)
        self.write_model()
        (self.folder / "report.json").mkdir()
        for file, reason in (
                ("net.onnx/report.json", "cannot write into the folder net.onnx: Not a directory"),
                ("report.json",
                 "cannot write report.json: expected a file of that name or none, found something else")):
            for mode in (), ("--loop=3",):
                done = self.run_program(f"--report_json={file}", *mode)
                self.assertEqual((done.returncode, done.stdout, done.stderr), (1, "", f"error: {reason}\n"))
        self.assertEqual(self.written(), [])
        self.succeed("--report_json=new/folder/report.json")
        self.assertEqual(json.loads((self.folder / "new" / "folder" / "report.json").read_text())["images"], 1)

    def test_full_disk_keeps_score_and_bad_inputs(self):
        images = self.write_images(2)
        (self.data / "1.png").write_bytes(b"")
        labels = self.folder / "labels"
        labels.mkdir()
        label = np.ones((HEIGHT, WIDTH), np.uint8)
        Image.fromarray(label).save(labels / "0.png")
        self.write_model()
        done = self.run_program("--label_path=labels", "--save=none",
                                preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (50, 50)))
        self.assertEqual(done.returncode, 1)
        self.assertTrue(done.stdout.endswith("\n\n" + self.table(images[:1], [label])), done.stdout)
        self.assertEqual(done.stderr, (
            f"bad input: {self.data}/1.png: is empty\n"
            "error: 1 of 2 inputs could not be used or scored; all other results are in ./result_Files\n"
            "error: cannot write ./time_Result/test_perform_static.txt: File too large\n"))

    def test_bad_labels_are_listed_and_the_others_scored(self):
        images = self.write_images(5)
        labels = self.folder / "labels"
        labels.mkdir()
        good = np.ones((HEIGHT, WIDTH), np.uint8)
        Image.fromarray(good).save(labels / "0.png")
        Image.fromarray(np.full((HEIGHT, WIDTH), 7, np.uint8)).save(labels / "1.png")
        Image.fromarray(good[:5]).save(labels / "2.png")
        Image.fromarray(street(HEIGHT, WIDTH)).save(labels / "3.png")
        self.write_model()
        done = self.run_program("--label_path=labels")
        self.assertEqual(done.returncode, 3)
        self.assertTrue(done.stdout.endswith(self.table(images[:1], [good])), done.stdout)
        self.assertIn("images          5 in 5 runs of batch 1, ", done.stdout)
        self.assertEqual(done.stderr, (
            "bad input: labels/1.png: labels must be 0..3 or 255 (ignored), found 7; give --label_ids if these are "
            "label ids, or check the label file\n"
            "bad input: labels/2.png: is 64x5, expected the size of its image, 64x32\n"
            "bad input: labels/3.png: is a PNG of colours or of other than 8 bits; expected class ids, 8-bit grey or "
            "palette indices\n"
            f"bad input: {self.data}/4.png: has no label in labels, expected 4_label.bin, 4.png or "
            "4_gtFine_labelTrainIds.png\n"
            "error: 4 of 5 inputs could not be used or scored; all other results are in ./result_Files\n"))
        self.assertEqual(len(self.written()), 5)  # a class map needs no label

    def test_bin_files_are_scored_too(self):
        images = [street(HEIGHT, WIDTH, i) for i in range(2)]
        labels = [np.full((HEIGHT, WIDTH), i, np.uint8) for i in range(2)]
        for i, (image, label) in enumerate(zip(images, labels)):
            (self.data / f"{i}_img.bin").write_bytes(image.tobytes())
            (self.data / f"{i}_label.bin").write_bytes(label.tobytes())
        self.write_model()
        self.assertTrue(self.succeed(f"--label_path={self.data}").endswith(self.table(images, labels)))
        self.assertEqual(len(self.written()), 2)

    def test_bad_images_are_listed_and_the_others_done(self):
        images = self.write_images(9)
        good = (self.data / "0.png").read_bytes()
        (self.data / "1.png").write_bytes(good[:len(good) // 2])
        (self.data / "2.png").write_bytes(b"")
        (self.data / "3.png").write_bytes(b"no image")
        (self.data / "4.png").write_bytes(good[:16] + b"\0\0\x40\0\0\0\x40\0" + good[24:])  # and a wrong checksum
        (self.data / "5.png").unlink()
        (self.data / "5.png").symlink_to("nowhere")
        (self.data / "6.png").write_bytes(good[:-12])  # without its end
        Image.fromarray(images[7]).save(self.data / "7.jpg")
        (self.data / "7.jpg").write_bytes((self.data / "7.jpg").read_bytes()[:600])
        (self.data / "7.png").unlink()
        for batch in (1, 4):
            with self.subTest(batch=batch):
                self.write_model(batch=batch)
                done = self.run_program()
                self.assertEqual(done.returncode, 3)
                lines = done.stderr.splitlines()
                self.assertEqual(len(lines), 8)
                for i, reason in enumerate([
                        "1.png: is not a complete PNG (", "2.png: is empty", "3.png: is not a PNG or JPEG file;",
                        "4.png: is not a complete PNG (", "5.png: cannot be read: No such file",
                        "6.png: is not a complete PNG (", "7.jpg: is not a complete JPEG ("]):
                    self.assertTrue(lines[i].startswith(f"bad input: {self.data}/{reason}"), lines[i])
                self.assertEqual(self.written(), ["class_map/0_class_map.png", "class_map/8_class_map.png"])
                np.testing.assert_array_equal(self.class_map(8), expected_class_map(images[8]))

    def test_a_name_too_long_for_its_result(self):
        self.write_model()
        for name in ("a", 245 * "x"):
            Image.fromarray(street(HEIGHT, WIDTH)).save(self.data / f"{name}.png")
        done = self.run_program()
        self.assertEqual(done.returncode, 3)
        self.assertIn("File name too long\nerror: 1 of 2 inputs could not be used or scored", done.stderr)
        self.assertEqual(self.written(), ["class_map/a_class_map.png"])

    @unittest.skipIf(os.geteuid() == 0, "root may enter every folder")
    def test_a_folder_that_may_not_be_entered(self):
        self.write_model()
        Image.fromarray(street(HEIGHT, WIDTH)).save(self.data / "a.png")
        (self.data / "closed").mkdir(mode=0)
        done = self.run_program()
        self.assertEqual(done.returncode, 3)
        self.assertIn(f"bad input: {self.data / 'closed'}: cannot be read: Permission denied\n", done.stderr)
        self.assertEqual(self.written(), ["class_map/a_class_map.png"])

    @unittest.skipIf(os.geteuid() == 0, "root may read everything")
    def test_unreadable_file(self):
        self.write_images(2)
        (self.data / "0.png").chmod(0)
        self.write_model()
        done = self.run_program()
        self.assertEqual(done.returncode, 3)
        self.assertIn("0.png: cannot be read: Permission denied", done.stderr)

    def test_full_disk(self):
        """A limit on the size of files, the same to the program as a full disk."""
        self.write_images(3)
        self.write_model()
        done = self.run_program(preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (50, 50)))
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stderr, r"^error: cannot write .*_class_map.png: File too large\n$")
        self.assertEqual(self.written(), [])

    def test_logits_that_are_not_finite(self):
        self.write_images(2)
        model = make_model("head_float", 1, HEIGHT, WIDTH)
        model.graph.initializer[1].raw_data = np.array([0, np.nan, 0, 0], np.float32).tobytes()
        onnx.save(model, self.model)
        self.model.with_suffix(".json").write_text(make_metadata("head_float", 1, HEIGHT, WIDTH))
        done = self.run_program()
        self.assertEqual(done.returncode, 3)
        self.assertIn(f"bad input: {self.data}/1.png: expected finite logits, found NaN or infinity; is the model's "
                      "precision too low?\n", done.stderr)
        self.assertEqual(self.written(), [])

    def test_wrong_usage(self):
        self.write_images(1)
        onnx.save(make_model("deploy", 1, HEIGHT, WIDTH), self.model)
        metadata = self.model.with_suffix(".json")

        def error(*flags, **options):
            done = self.run_program(*flags, **options)
            self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
            return done.returncode, done.stderr[:-1]
        self.assertEqual(error(), (1, f"error: no metadata {metadata}, which images and --label_path need; export.py "
                                      "writes it next to the model"))
        metadata.write_text("{}")
        self.assertEqual(error(), (1, f'error: {metadata}: is not the metadata of a model (expected the key '
                                      '"format_version"); export the model again'))
        metadata.write_text(make_metadata("deploy", 1, HEIGHT, 2 * WIDTH))
        self.assertEqual(error(), (1, "error: the model takes uint8 [1, 32, 64, 3], which is not what its metadata "
                                      "says; export it again"))
        metadata.write_text(make_metadata("head", 1, HEIGHT, WIDTH))
        self.assertEqual(error(), (1, "error: the model gives uint8 [1, 32, 64], which is not what its metadata says; "
                                      "export it again"))
        self.model.write_bytes(b"what follows is noticed before this is loaded")
        metadata.write_text(make_metadata("deploy", 1, HEIGHT, WIDTH))
        self.assertEqual(error("--label_path=missing"), (
            3, "error: cannot read the label folder missing: No such file or directory"))
        self.assertEqual(error(f"--label_path={self.data}", "--label_ids=7,9"), (
            2, "error: --label_ids expects one number for each of the model's 4 classes, found 2"))
        self.assertEqual(error("--save=class_map,mosaic"), (
            2, "error: --save expects some of class_map, mask, overlay, or none, found \"class_map,mosaic\""))
        self.assertEqual(error(dataset="missing"), (
            3, "error: cannot read the dataset missing: No such file or directory"))
        (self.data / "a_img.bin").write_bytes(b"")
        self.assertEqual(error("--save=mask"), (
            2, "error: --save is for images; the results of .bin files are .bin files"))


if __name__ == "__main__":
    program_test.main(sys.argv)
