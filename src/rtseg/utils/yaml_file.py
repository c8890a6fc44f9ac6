"""YAML files with settings: plain data only, and what YAML would silently let pass is an error."""
from collections import Counter
from pathlib import Path
from typing import Any, Dict, Optional, Union

import yaml

from rtseg.utils.errors import ConfigError
from rtseg.utils.files import read_regular_file

_MOST_BYTES = 1 << 20  # PyYAML takes seconds for so much
# What PyYAML's constructors raise, next to its own errors, for scalars and tags that do not fit each other.
_WRONG_VALUES = (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, RecursionError)


class _StrictLoader(yaml.SafeLoader):
    """Plain YAML that refuses a key given twice, of which YAML would silently take the last, and aliases, with which a
    few lines can stand for more values than memory holds."""

    def compose_node(self, parent: Optional[yaml.Node], index: Any) -> Optional[yaml.Node]:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError(f"expected values that are written out, found the alias *{self.peek_event().anchor}")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.Node, deep: bool = False) -> Dict[Any, Any]:
        keys = Counter(key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode))
        for key, count in keys.items():
            if count > 1:
                raise yaml.YAMLError(f"the key '{key}' stands there {count} times")
        return super().construct_mapping(node, deep)

    def construct_yaml_int(self, node: yaml.Node) -> int:
        number = super().construct_yaml_int(node)
        if abs(number) >= 2 ** 63:  # Python refuses even to write some of these into a message
            raise yaml.YAMLError("expected integers of at most 64 bits, found a larger one")
        return number


_StrictLoader.add_constructor("tag:yaml.org,2002:int", _StrictLoader.construct_yaml_int)


def load_yaml(path: Union[str, Path], flag: str) -> Dict[str, Any]:
    """The 'key: value' lines of a YAML file; `flag` is what the user named the file with, for the error messages.

    Raises:
        ConfigError: the file cannot be read, is not YAML or holds something else.
    """
    try:
        content = yaml.load(read_regular_file(path, _MOST_BYTES).decode("utf-8"), _StrictLoader)
    except OSError as error:
        raise ConfigError(f"{flag} {path}: expected a readable YAML file; {error.strerror}") from None
    except UnicodeDecodeError as error:
        line = error.object[:error.start].count(b"\n") + 1
        raise ConfigError(f"{flag} {path}: not valid YAML: expected text in UTF-8, found other bytes in line {line}; "
                          "save it as UTF-8") from None
    except (yaml.YAMLError, *_WRONG_VALUES) as error:
        raise ConfigError(f"{flag} {path}: not valid YAML: {error}") from None
    if not isinstance(content, dict):
        raise ConfigError(f"{flag} {path}: expected 'key: value' lines, found {type(content).__name__}")
    return content


def line_numbers(path: Union[str, Path]) -> Dict[str, int]:
    """Line of every value of a valid file, by keys such as "classes[3].color"."""
    lines = {}
    pending = [("", yaml.compose(Path(path).read_text(encoding="utf-8"), yaml.SafeLoader))]
    while pending:
        key, node = pending.pop()
        lines[key] = node.start_mark.line + 1
        if isinstance(node, yaml.MappingNode):
            pending += [(f"{key}.{name.value}" if key else str(name.value), value) for name, value in node.value]
        elif isinstance(node, yaml.SequenceNode):
            pending += [(f"{key}[{index}]", value) for index, value in enumerate(node.value)]
    return lines
