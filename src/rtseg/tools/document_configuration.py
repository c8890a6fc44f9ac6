"""Writes what follows from the configuration's schema: docs/configuration.md and the JSON schemas for editors.

    python -m rtseg.tools.document_configuration

tests/tools/test_document_configuration.py says when they are stale.
"""
import json
from pathlib import Path
from typing import Any, Dict, Optional, Sequence, Type

from pydantic import BaseModel, TypeAdapter

from rtseg.config.arguments import default_of, metavar_of
from rtseg.config.config import FIELDS, SECTIONS, Config
from rtseg.config.fields import expected_value, extra_of
from rtseg.data import spec_file
from rtseg.utils.atomic import write_text
from rtseg.utils.errors import run_command
from rtseg.utils.files import configs_folder

# Keywords of our own in the schema, which editors need not know.
_OWN_KEYWORDS = ("commands", "aliases", "flag", "metavar", "expected", "nargs", "bare")

_HEAD = """\
# Configuration

This page is generated from the schema in `src/rtseg/config/sections.py` by `python -m
rtseg.tools.document_configuration`; change it there.

`train`, `eval`, `export` and `predict` read a YAML recipe (`--config`, default `configs/<model>.yaml`), and their
flags override it. A recipe has a section for each table below; run folders of older versions, whose `config.yaml` has
all keys at one level, are still read. Unknown keys and flags, keys given twice, values of the wrong type and
combinations that cannot work are errors with exit code 2, which say what was expected, what was found and where.

- A key without a default must stand in the recipe.
- A flag is `--` and the key's name; some have other names too. Lists are written `1,2,3`; booleans take 0 or 1, and a
  boolean alone, as in `--tensorboard`, means 1.
- Editors with a YAML language server check and complete recipes by their first line,
  `# yaml-language-server: $schema=schema/recipe.json`.
"""
_SPEC_HEAD = """\
## Data-set specifications

`--dataset_config` names a file in `configs/datasets/` or a YAML file of your own with these keys. Label files hold ids
(`label_form: ids`, the default) or colours (`label_form: colors`).
"""


def page() -> str:
    """The text of docs/configuration.md."""
    parts = [_HEAD]
    for name, model in SECTIONS.items():
        rows = [_row(flag) for flag, entry in FIELDS.items() if entry.section == name]
        columns = ("Key", "Value", "Default", "Other flags", "Commands", "Meaning")
        parts.append(_table(f"## {name}\n\n{model.__doc__}", columns, rows=rows))
    parts.append(_SPEC_HEAD)
    for title, spec_model in (("With ids", spec_file.IdSpecFile), ("With colours", spec_file.ColorSpecFile),
                              ("Each class, with ids", spec_file.IdClass),
                              ("Each ignored entry, with ids", spec_file.IgnoredId),
                              ("Each class or ignored entry, with colours", spec_file.ColorClass),
                              ("`splits`", spec_file.Splits), ("Each of `splits`", spec_file.SplitFiles)):
        parts.append(_table(f"### {title}\n\n{spec_model.__doc__}", ("Key", "Default", "Meaning"),
                            rows=[_spec_row(spec_model, key) for key in spec_model.model_fields]))
    return "\n".join(parts).rstrip("\n") + "\n"


def _row(flag: str) -> Sequence[str]:
    entry = FIELDS[flag]
    extra = extra_of(entry.field)
    names = [f"`--{flag}`"] * (flag != entry.name) + [f"`{alias}`" for alias in extra["aliases"]]
    default = "" if entry.field.is_required() else default_of(entry.field)
    return (f"`{entry.name}`", expected_value(entry.field),
            default and (default if default == "empty" else f"`{default}`"), ", ".join(names),
            ", ".join(extra["commands"]) or f"predict ({metavar_of(entry.field)})", str(entry.field.description))


def _spec_row(model: Type[BaseModel], key: str) -> Sequence[str]:
    field = model.model_fields[key]
    default = "" if field.is_required() else "none" if field.default in (None, []) else f"`{field.default}`"
    return f"`{key}`", default, str(field.description)


def _table(head: str, columns: Sequence[str], *, rows: Sequence[Sequence[str]]) -> str:
    lines = [list(columns), ["---"] * len(columns), *(list(row) for row in rows)]
    text = "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
    return f"{head}\n\n{text}\n"


def recipe_schema() -> Dict[str, Any]:
    """The JSON schema of recipes."""
    schema = Config.model_json_schema()
    schema["title"] = "Recipe"
    spec = schema["$defs"]["Data"]["properties"]["dataset_config"]
    spec["anyOf"] = [{"type": spec.pop("type")}, {"$ref": "dataset.json"}]
    schema["required"] = [name for name, model in SECTIONS.items()
                          if any(field.is_required() for field in model.model_fields.values())]
    return _for_editors(schema)


def dataset_schema() -> Dict[str, Any]:
    """The JSON schema of data-set specifications."""
    return _for_editors({"title": "Data-set specification", **TypeAdapter(spec_file.SpecFile).json_schema()})


def _for_editors(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_for_editors(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {key: _for_editors(value) for key, value in schema.items()
            if key not in _OWN_KEYWORDS or isinstance(value, dict)}
    items = kept.get("prefixItems", [])
    if len(items) == 2 and items[0].get("type") == "integer":  # a size, of which a square is one number
        return {**{key: kept.pop(key) for key in ("title", "description") if key in kept}, "anyOf": [items[0], kept]}
    return kept


def files(project: Path) -> Dict[Path, str]:
    """Path -> content of everything that this program writes."""
    schemas = project / "configs" / "schema"
    return {project / "docs" / "configuration.md": page(),
            schemas / "recipe.json": json.dumps(recipe_schema(), indent=1) + "\n",
            schemas / "dataset.json": json.dumps(dataset_schema(), indent=1) + "\n"}


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Writes the files of this clone."""
    for path, text in files(configs_folder().parent).items():
        write_text(path, text)
        print(path)
    return 0


if __name__ == "__main__":
    run_command(main)
