"""Data-set specifications: what they mean, and what is refused."""
import pytest
import yaml
from script_helpers import PROJECT
from spec_helpers import BY_COLORS, BY_IDS

from rtseg.config.arguments import parse_arguments
from rtseg.config.recipe import load_config
from rtseg.data.dataset_spec import load_dataset_spec
from rtseg.utils.errors import ConfigError
from rtseg.utils.files import configs_folder

RECIPE = PROJECT / "configs" / "fast_scnn.yaml"


def test_cityscapes_is_the_benchmarks():
    labels = pytest.importorskip("cityscapesscripts.helpers.labels").labels
    description = load_dataset_spec("cityscapes")
    scored = sorted((label for label in labels if 0 <= label.trainId < 255), key=lambda label: label.trainId)
    assert description.class_names == tuple(label.name for label in scored) and description.num_classes == 19
    assert description.palette == tuple(label.color for label in scored)
    for label in labels[:-1]:  # the last one has the id -1
        assert description.id_table[label.id] == label.trainId
    assert description.id_table[33:].tolist() == [18] + [254] * 221 + [255]
    assert description.train_id_to_id[[0, 18, 19, 255]].tolist() == [7, 33, 0, 0]


def test_camvid_takes_its_colours_together():
    description = load_dataset_spec("camvid")
    assert description.num_classes == 11 and (description.color_table != 254).sum() == 32
    numbers = [0x808080, 0x800000, 0x40C000, 0x8000C0, 0xC000C0, 0x000000, 0x000001]
    assert description.color_table[numbers].tolist() == [0, 1, 1, 3, 10, 255, 254]


def test_camvid_in_eleven_classes():
    spec = load_dataset_spec("camvid11")
    assert spec.class_names == load_dataset_spec("camvid").class_names
    assert spec.palette == load_dataset_spec("camvid").palette
    assert spec.id_table[[0, 2, 10, 11, 12, 255]].tolist() == [0, 2, 10, 255, 254, 255]


@pytest.mark.parametrize("path", sorted((configs_folder() / "datasets").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_description_is_named_as_its_file(path):
    assert load_dataset_spec(path.stem).name == path.stem == load_dataset_spec(path).name


def test_ids_literal(describe):
    description = load_dataset_spec(describe(BY_IDS))
    assert description.id_table[[7, 9, 255, 0, 3, 1, 254]].tolist() == [0, 0, 1, 2, 255, 254, 254]
    assert description.train_id_table[[0, 1, 2, 3, 255]].tolist() == [0, 1, 2, 254, 255]
    assert description.train_id_to_id[[0, 1, 2, 255]].tolist() == [7, 255, 0, 3]
    plain = load_dataset_spec(describe(BY_IDS, (", id: [7, 9]", ""), (", id: 255", ""), (", id: 0", ""),
                                      ("ignored:\n  - {name: edge, id: 3}\n", "unknown_labels: ignore\n")))
    assert plain.id_table.tolist() == [0, 1, 2] + [255] * 253


@pytest.mark.parametrize("text, old, new, line, message", [
    (BY_IDS, "name: fields", "nam: fields", 1, "key 'nam': is unknown; expected name, classes, splits, ignored,"),
    (BY_IDS, "name: fields\n", "", 1, "expected name, classes, splits, found no name"),
    (BY_IDS, "name: fields", "name: 5", 1, "key 'name': expected text in one line (in quotes"),
    (BY_IDS, "name: maize", "name: yes", 10, "key 'classes[1].name': expected text in one line (in quotes"),
    (BY_IDS, "name: maize", "name: soil", 10, "key 'classes[1]': expected another name than classes[0], found 'soil'"),
    (BY_IDS, "name: edge", "name: weed", 13, "expected another name than classes[2]"),
    (BY_IDS, "id: 255", "id: 9", 10, "expected another id or label colour than classes[0], found 9 again"),
    (BY_IDS, "id: 3", "id: 0", 13, "expected another id or label colour than classes[2], found 0 again"),
    (BY_IDS, "[0, 200, 0]", "[100, 50, 0]", 10, "expected another color than classes[0]"),
    (BY_IDS, ", id: 0", "", 11, "key 'classes[2]': expected an 'id', as other classes have one"),
    (BY_IDS, "id: 255", "id: 256", 10, "key 'classes[1].id': expected an id of 0..255, or a list of them, found 256"),
    (BY_IDS, "id: 255", "id: true", 10, "expected an id of 0..255"),
    (BY_IDS, "[7, 9]", "[]", 9, "expected at least one id"),
    (BY_IDS, "id: 3", "id: 3, color: [0, 0, 0]", 13, "key 'ignored[0].color': is unknown; expected name, id"),
    (BY_IDS, "[0, 200, 0]", "[0, 200]", 10, "key 'classes[1].color': expected [R, G, B] with three integers of 0..255"),
    (BY_IDS, "[0, 200, 0]", "[0, 300, 0]", 10, "expected [R, G, B]"),
    (BY_IDS, "  - {name: maize, color: [0, 200, 0], id: 255}\n  - {name: weed, color: [200, 0, 200], id: 0}\n", "", 9,
     "key 'classes': expected 2 to 254 classes, found 1"),
    (BY_IDS, "{list: val.txt}", "{list: val.txt, images: x}", 7, "expected images, labels (or 'list' alone), found no "
     "labels"),
    (BY_IDS, "{list: val.txt}", "{images: x}", 7, "expected images, labels (or 'list' alone), found no labels"),
    (BY_IDS, "  val:", "  valid:", 7, "key 'splits.valid': is unknown; expected train, val, test"),
    (BY_IDS, "label_suffix: _id.png\n", "", 1, "key 'label_suffix': expected what the names in the folders of splits"),
    (BY_IDS, "_train.png", "_id.png", 4, "expected another suffix than label_suffix"),
    (BY_IDS, "name: fields", "name: fields\nlabel_form: colours", 2, "expected ids or colors, found 'colours'"),
    (BY_COLORS, "color: [1, 2, 3]", "color: [0, 0, 255]", 9, "expected another id or label colour than classes[0]"),
    (BY_COLORS, "color: [1, 2, 3]", "color: [1, 2, 3], id: 4", 8, "key 'classes[0].id': is unknown"),
    (BY_COLORS, "[[255, 0, 0], [0, 0, 255]]", "[255, 0, 0]", 11, "key 'classes[1].label_colors[0]': expected [R, G"),
    (BY_COLORS, "{images: a, labels: b}", "none", 6, "key 'splits.train': expected 'key: value' lines, found 'none'"),
])
def test_what_is_wrong_is_named_with_its_line(describe, text, old, new, line, message):
    path = describe(text, (old, new))
    with pytest.raises(ConfigError) as error:
        load_dataset_spec(path)
    assert str(error.value).startswith(f"{path}, line {line}: ") and message in str(error.value)


def test_images_and_labels_must_differ_and_files_must_be_there(describe, tmp_path):
    path = describe(BY_COLORS, ("image_suffix: .jpg", "image_suffix: .png"), ("labels: b", "labels: a/"))
    with pytest.raises(ConfigError, match="images and labels to differ in their folder or their suffix"):
        load_dataset_spec(path)
    with pytest.raises(ConfigError, match="--dataset_config citiscapes: expected a YAML file or one of bdd100k,"):
        load_dataset_spec("citiscapes")
    with pytest.raises(ConfigError, match="--dataset_config .*none.yaml: expected a readable YAML file"):
        load_dataset_spec(tmp_path / "none.yaml")
    path.write_text("name: a\nname: b\n")
    with pytest.raises(ConfigError, match="mine.yaml: not valid YAML: the key 'name' stands there 2 times"):
        load_dataset_spec(path)
    path.write_bytes("name: a\nclasses: [{name: 道路}]\n".encode("gbk"))
    with pytest.raises(ConfigError, match="not valid YAML: expected text in UTF-8, found other bytes in line 2; save"):
        load_dataset_spec(path)


def test_a_run_keeps_the_whole_description(describe, tmp_path):
    path = describe(BY_COLORS)
    config = load_config(RECIPE, {"dataset_config": str(path)})
    path.unlink()
    saved = tmp_path / "config.yaml"
    saved.write_text(config.dump())
    assert load_config(saved) == config and load_config(saved).data.dataset_config.class_names == ("floor", "wall")
    content = yaml.safe_load(saved.read_text())
    assert content["data"]["dataset_config"] == yaml.safe_load(BY_COLORS)
    content["data"]["dataset_config"]["classes"][1]["color"] = "red"
    saved.write_text(yaml.safe_dump(content))
    with pytest.raises(ConfigError, match=r"config.yaml: dataset_config: key 'classes\[1\].color': expected \[R"):
        load_config(saved)
    assert yaml.safe_load(load_config(RECIPE).dump())["data"]["dataset_config"] == "cityscapes"


@pytest.mark.parametrize("flags, message", [
    (["--dataset_config", "none"], "--dataset_config none: expected a YAML file or one of"),
    (["--train_split", "trainval"], "split 'trainval': the data set 'rooms' has no 'val', only train"),
    ([], "split 'val': the data set 'rooms' has no 'val'"),
])
def test_splits_are_checked_before_anything_starts(describe, flags, message):
    with pytest.raises(ConfigError, match=message):
        parse_arguments("train", "", argv=["--dataset", "d", "--dataset_config", str(describe(BY_COLORS)), *flags])
    arguments = ["--dataset", "d", "--dataset_config", str(describe(BY_COLORS)), "--eval_while_train", "0"]
    assert parse_arguments("train", "", argv=arguments).data.dataset_config.num_classes == 2
    with pytest.raises(ConfigError, match="the data set 'cityscapes' has no labels of it"):
        parse_arguments("eval", "", argv=["--dataset", "d", "--resume_path", "r", "--eval_split", "test"])
