"""Two specifications, and files that they describe."""
import numpy as np
from data_helpers import write_png
from PIL import Image

BY_IDS = """\
name: fields
image_suffix: .png
label_suffix: _id.png
train_id_suffix: _train.png
splits:
  train: {images: images, labels: truth}
  val: {list: val.txt}
classes:
  - {name: soil, color: [100, 50, 0], id: [7, 9]}
  - {name: maize, color: [0, 200, 0], id: 255}
  - {name: weed, color: [200, 0, 200], id: 0}
ignored:
  - {name: edge, id: 3}
"""
BY_COLORS = """\
name: rooms
label_form: colors
image_suffix: .jpg
label_suffix: .png
splits:
  train: {images: a, labels: b}
classes:
  - {name: floor, color: [1, 2, 3]}
  - name: wall
    color: [255, 0, 0]
    label_colors: [[255, 0, 0], [0, 0, 255]]
ignored:
  - {name: frame, color: [255, 255, 255]}
"""


def fields(root, *names, ids=((7, 3), (255, 0))):
    """Images of 2x2 in the layout of BY_IDS."""
    for name in names:
        write_png(root / "images" / f"{name}.png", np.zeros((2, 2, 3), np.uint8))
        write_png(root / "truth" / f"{name}_id.png", np.array(ids, np.uint8))


def rooms(root, colors=((1, 2, 3), (0, 0, 255), (255, 255, 255), (255, 0, 0)), height=1):
    """A JPEG image in the layout of BY_COLORS; returns its label, which has these colours row by row."""
    label = np.array(colors, np.uint8).reshape(height, -1, 3)
    (root / "a").mkdir(exist_ok=True)
    Image.fromarray(np.full_like(label, 90)).save(root / "a" / "x.jpg")
    return write_png(root / "b" / "x.png", label)
