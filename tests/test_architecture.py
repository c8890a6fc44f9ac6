"""Who imports whom: nobody upwards, nobody in a circle, and MindSpore only where it is needed."""
import ast
from graphlib import TopologicalSorter

import pytest
from script_helpers import PROJECT

from rtseg.cli.main import COMMANDS

# From the ground up. The longest name that a module begins with says where it stands.
FLOORS = (
    {"rtseg", "rtseg.config", "rtseg.data.dataset_spec", "rtseg.data.spec_file",
     "rtseg.metrics", "rtseg.utils"},
    {"rtseg.data", "rtseg.losses", "rtseg.models", "rtseg.runtime", "rtseg.synthetic", "rtseg.visualization"},
    {"rtseg.export", "rtseg.inference", "rtseg.training"},
    {"rtseg.api", "rtseg.launch", "rtseg.tools"},
    {"cal_mIoU", "eval", "export", "predict", "preprocess", "rtseg.__main__", "rtseg.cli", "scripts", "setup", "train"},
)
# They start in a blink, and on machines that have no MindSpore.
NEVER_MINDSPORE = ("rtseg.cli.preprocess", "rtseg.cli.score", "rtseg.config.", "rtseg.data.",
                   "rtseg.inference.bin_files", "rtseg.inference.metadata", "rtseg.inference.postprocessing",
                   "rtseg.inference.preprocessing", "rtseg.metrics.", "rtseg.utils.")

# Drawing takes coordinates: box(left, bottom, right, top, color).
COORDINATES = "rtseg.synthetic."
# Their callers are others, which pass by position, as they do to a network's `construct` and to operators.constexpr.
CALLED_BY_POSITION = {"rtseg.tools.torch_file._rebuild_tensor", "rtseg.training.weight_average._move"}


def imports_of(source, only_at_once=False):
    """Names of what a program imports, `from x import y` as x.y; with `only_at_once` not what its functions import.

    What is imported for type checkers only is left out.
    """
    nodes, found = [ast.parse(source)], set()
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.Import):
            found.update(name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            found.update(f"{'.' * node.level}{node.module}.{name.name}" for name in node.names)
        elif isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        elif not (only_at_once and isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))):
            nodes.extend(ast.iter_child_nodes(node))
    return found


def begins(name):
    """`name` and the shorter names that it begins with, the longest first."""
    parts = name.split(".")
    return [".".join(parts[:end]) for end in range(len(parts), 0, -1)]


def module_name(path):
    return ".".join(path.relative_to(PROJECT).with_suffix("").parts).removesuffix(".__init__").removeprefix("src.")


SOURCES = {module_name(path): path.read_text(encoding="utf-8")
           for pattern in ("*.py", "scripts/*.py", "src/**/*.py") for path in sorted(PROJECT.glob(pattern))}


def module_of(name):
    """The module of ours that an imported name belongs to, or None."""
    return next((module for module in begins(name) if module in SOURCES and module != "src"), None)


def floor_of(module):
    return next(floor for name in begins(module) for floor, names in enumerate(FLOORS) if name in names)


def room_of(module):
    return next(name for name in begins(module) for names in FLOORS if name in names)


def reached_imports(module, only_at_once):
    """All that comes into the process with a module of ours."""
    found, waiting, seen = set(), [module], set()
    while waiting:
        module = waiting.pop()
        if module not in seen:
            seen.add(module)
            imports = imports_of(SOURCES[module], only_at_once)
            found |= imports
            waiting += [part for name in imports for part in begins(name) if part in SOURCES]
    return found


def imports_mindspore(imports):
    return [name for name in imports if name.split(".")[0] == "mindspore"]


def test_imports_of():
    source = ("import a.b, c\nfrom d.e import f as g, h\nfrom . import k\n"
              "class K:\n    import l\n    def m(self):\n        from i import j\nif TYPE_CHECKING:\n    import n\n")
    assert imports_of(source, only_at_once=True) == {"a.b", "c", "d.e.f", "d.e.h", ".None.k", "l"}
    assert imports_of(source) == {"a.b", "c", "d.e.f", "d.e.h", ".None.k", "l", "i.j"}


def test_every_file_has_a_floor():
    assert [module for module in SOURCES if not any(name in names for name in begins(module) for names in FLOORS)] == []
    assert (floor_of("rtseg.data.spec_file"), floor_of("rtseg.data.loader"), floor_of("train")) == (0, 1, 4)


def test_nobody_imports_upwards():
    ours = {module: {module_of(name) for name in imports_of(source)} - {None} for module, source in SOURCES.items()}
    assert ours["rtseg.training.build"] >= {"rtseg.data.loader", "rtseg.models.registry"}
    assert [f"{module} imports {imported}" for module, imports in ours.items() for imported in sorted(imports)
            if floor_of(imported) > floor_of(module)] == []
    TopologicalSorter(ours).prepare()  # raises CycleError


def test_no_two_rooms_import_each_other():
    rooms = {}
    for module, source in SOURCES.items():
        imported = {room_of(found) for name in imports_of(source) for found in [module_of(name)] if found}
        rooms.setdefault(room_of(module), set()).update(imported - {room_of(module)})
    assert rooms["rtseg.training"] >= {"rtseg.data", "rtseg.models"}
    TopologicalSorter(rooms).prepare()


def test_imports_are_absolute_and_of_what_is_installed():
    """Tests and benchmarks stay out of the programs."""
    for module, source in SOURCES.items():
        assert not [name for name in imports_of(source) if name.split(".")[0] in ("", "tests", "benchmarks")], module


def positions(source):
    """(line, name, positional parameters without self) of each function that a caller of its module or class sees."""
    bodies = [ast.parse(source).body]
    while bodies:
        for node in bodies.pop():
            if isinstance(node, ast.ClassDef):
                bodies.append(node.body)
            elif isinstance(node, ast.FunctionDef) and not any("constexpr" in ast.unparse(decorator)
                                                               for decorator in node.decorator_list):
                names = [argument.arg for argument in node.args.posonlyargs + node.args.args]
                yield node.lineno, node.name, names[names[:1] in (["self"], ["cls"]):]


def test_from_the_third_parameter_on_they_are_keyword_only():
    source = "class K:\n    def m(self, a, b, c, *, d): pass\n    @ops.constexpr\n    def n(): pass\n"
    assert list(positions(source)) == [(2, "m", ["a", "b", "c"])]
    assert [f"{module}:{line} {name}({', '.join(names)})" for module, source in SOURCES.items()
            if not module.startswith(COORDINATES) for line, name, names in positions(source)
            if len(names) > 2 and f"{module}.{name}" not in CALLED_BY_POSITION and name not in ("construct", "__call__")
            ] == []


@pytest.mark.parametrize("begin", NEVER_MINDSPORE)
def test_modules_that_need_no_mindspore(begin):
    modules = [module for module in SOURCES if module == begin or (begin[-1] == "." and module.startswith(begin))]
    assert modules
    for module in modules:
        assert not imports_mindspore(reached_imports(module, only_at_once=False)), module


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_answer_help_before_they_import_mindspore(command):
    assert not imports_mindspore(reached_imports(COMMANDS[command][0], only_at_once=True))
