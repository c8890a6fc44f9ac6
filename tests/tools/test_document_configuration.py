"""What is generated from the configuration's schema is up to date and says what the schema says."""
import json

import pytest
import yaml
from script_helpers import PROJECT

from rtseg.tools import document_configuration

FILES = document_configuration.files(PROJECT)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_generated_files_are_not_stale(path):
    assert path.read_text(encoding="utf-8") == FILES[path], (
        "stale: run python -m rtseg.tools.document_configuration")


def test_page_literal():
    page = document_configuration.page()
    assert ("| `epochs` | an integer >= 1 |  |  | train | passes over the training split |\n") in page
    assert "| `name` | one of mix, ohem |  | `--loss` | train |" in page
    assert "| `eval_batch_size` | an integer >= 1 | `1` | `--valid_batch_size` | train, eval |" in page
    assert "| `label_suffix` | none | the same for label files |" in page


def test_recipe_schema_literal():
    schema = json.loads((PROJECT / "configs" / "schema" / "recipe.json").read_text())
    assert schema["required"] == ["network", "data", "loss", "optimizer", "schedule"]
    sections = schema["$defs"]
    assert sections["Schedule"]["properties"]["epochs"] == {
        "description": "passes over the training split", "minimum": 1, "title": "Epochs", "type": "integer"}
    assert sections["Loss"]["properties"]["name"]["enum"] == ["mix", "ohem"]
    assert sections["Network"]["additionalProperties"] is False
    side = {"maximum": 16384, "minimum": 32, "multipleOf": 32, "type": "integer"}
    assert sections["Data"]["properties"]["crop_size"]["anyOf"][0] == side


@pytest.mark.parametrize("path", sorted((PROJECT / "configs").glob("**/*.yaml")), ids=lambda path: path.stem)
def test_every_recipe_names_a_schema_that_knows_its_keys(path):
    first, _ = path.read_text(encoding="utf-8").split("\n", 1)
    prefix = "# yaml-language-server: $schema="
    assert first.startswith(prefix)
    schema = json.loads((path.parent / first.removeprefix(prefix)).read_text(encoding="utf-8"))
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    if path.parent.name == "datasets":
        kind = "ColorSpecFile" if content["label_form"] == "colors" else "IdSpecFile"
        assert set(content) <= set(schema["$defs"][kind]["properties"])
    for section, values in content.items() if path.parent.name != "datasets" else ():
        name = schema["properties"][section]["$ref"].rpartition("/")[2]
        assert set(values) <= set(schema["$defs"][name]["properties"])
