"""What the launcher sets for every rank beyond its place in the group: time-outs, the compile cache and its cores.

Each is a default: a value that the environment already has is kept. No MindSpore.
"""
import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Dict, List, Optional, Sequence, Tuple

from rtseg.config.arguments import parse_arguments
from rtseg.utils.errors import ConfigError
from rtseg.utils.packages import installed_version

if TYPE_CHECKING:
    from rtseg.launch.launcher import LaunchOptions

# Seconds. CANN's own 120 end a start in which one rank still copies the data set; MindSpore's default is 600 as well.
_HCCL_CONNECT_TIMEOUT = "600"
_CONNECT_LIMITS = (120, 7200)
# Seconds that a rank waits in a collective: CANN's own default since 7.0. The first evaluation compiles a graph on
# every rank, so minutes between them are no error.
_HCCL_EXEC_TIMEOUT = "1836"
# These do not change the graph.
_OTHER_FLAGS = ("--output_path=", "--resume_path=", "--resume_name=", "--outer_path=", "--train_url=")


def environment_of_ranks(options: "LaunchOptions", group_size: int) -> Dict[str, str]:
    """Variables for all of the job's `group_size` ranks.

    Raises:
        ConfigError: a value in the environment that no device would accept.
    """
    hccl = {} if options.device_target in ("CPU", "GPU") else {
        "HCCL_CONNECT_TIMEOUT": _connect_timeout(),
        "HCCL_EXEC_TIMEOUT": os.environ.get("HCCL_EXEC_TIMEOUT") or _HCCL_EXEC_TIMEOUT}
    if os.environ.get("MS_COMPILER_CACHE_ENABLE") != "1":
        return {**hccl, "MS_COMPILER_CACHE_ENABLE": "0"}
    if parse_arguments("train", "", argv=options.train_arguments).evaluation.eval_while_train:
        # MindSpore numbers the graphs as they come. A resumed run may begin with an evaluation, and got the step's.
        raise ConfigError("MS_COMPILER_CACHE_ENABLE=1: expected --eval_while_train=0 with it, because MindSpore takes "
                          "one cached graph for another when a run that is resumed begins with an evaluation")
    cache = os.environ.get("MS_COMPILER_CACHE_PATH") or os.path.join(
        os.path.abspath(options.output_path), "compile_cache",
        graph_key(options.script, [*options.train_arguments, f"--group_size={group_size}"]))
    return {**hccl, "MS_COMPILER_CACHE_ENABLE": "1", "MS_COMPILER_CACHE_PATH": cache}


def _connect_timeout() -> str:
    text = os.environ.get("HCCL_CONNECT_TIMEOUT") or _HCCL_CONNECT_TIMEOUT
    least, most = _CONNECT_LIMITS
    if not (text.isdecimal() and least <= int(text) <= most):
        raise ConfigError(f"HCCL_CONNECT_TIMEOUT: expected seconds in {least}..{most}, found '{text}'")
    return text


def graph_key(script: Path, arguments: Sequence[str]) -> str:
    """Equal for two starts only if they compile the same graph.

    MindSpore looks at too little to tell: with another rate and weight decay it takes the old graph, which has the old
    numbers in it, and trains wrongly without a word. So the key covers the programs, the recipes, every flag and every
    file that a flag names, and MindSpore's version.
    """
    digest = hashlib.sha256()
    root = script.resolve().parent
    files = [script, *sorted([*root.glob("src/rtseg/**/*.py"), *root.glob("configs/**/*.yaml")])]
    flags = [flag for flag in arguments if not flag.startswith(_OTHER_FLAGS)]
    files += [Path(flag.partition("=")[2]) for flag in flags if os.path.isfile(flag.partition("=")[2])]
    for text in [installed_version("mindspore") or "", *flags]:
        digest.update(text.encode() + b"\0")
    for file in files:
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()[:16]


# --- cores ---

def cores_of_ranks(text: str, device_target: str, *, count: int) -> List[Tuple[int, ...]]:
    """The cores of each of this server's `count` ranks; an empty tuple leaves a rank where the system puts it.

    Args:
        text: of --bind_cores. "auto": an even split on devices; on what may be a CPU, whose ranks compute on all cores,
            none. "on": an even split everywhere. "off": none. Otherwise one list for each rank, "0-3,8:4-7,9".
        device_target: of the ranks.
        count: number of ranks.

    Raises:
        ConfigError: lists that are none, too few or too many, or with cores that this process may not use.
    """
    available = sorted(os.sched_getaffinity(0))  # in a container often fewer than the machine has
    if text in ("off", "0") or text == "auto" and device_target in ("CPU", "auto"):
        return [()] * count
    if text in ("auto", "on", "1"):
        edges = [i * len(available) // count for i in range(count + 1)]
        even = [tuple(available[first:last]) for first, last in zip(edges, edges[1:])]
        return even if len(available) >= count else [()] * count
    lists: List[Tuple[int, ...]] = []
    for part in text.split(":"):
        cores = numbers_of(part)
        if cores is None:
            raise ConfigError(f"--bind_cores: expected auto, on, off, or lists such as 0-3:4-7, found '{text}'")
        lists.append(cores)
    missing = sorted({core for cores in lists for core in cores} - set(available))
    if len(lists) != count or missing:
        found = f"core {missing[0]}" if missing else f"{len(lists)} lists"
        raise ConfigError(f"--bind_cores: expected {count} lists, one for each rank of this server, with cores of "
                          f"{cores_text(available)}; found {found} in '{text}'")
    return lists


def numbers_of(text: str) -> Optional[Tuple[int, ...]]:
    """"0-2,5" -> (0, 1, 2, 5), the inverse of `cores_text`; None for what is no such list."""
    numbers: List[int] = []
    for word in text.split(","):
        first, _, last = word.partition("-")
        is_range = first.isdecimal() and (last or first).isdecimal() and max(len(first), len(last)) < 6
        if not is_range or int(last or first) < int(first):
            return None
        numbers.extend(range(int(first), int(last or first) + 1))
    return tuple(numbers)


def cores_text(cores: Sequence[int]) -> str:
    """(0, 1, 2, 5) -> "0-2,5", as taskset takes it."""
    runs: List[List[int]] = []
    for core in cores:
        if runs and core == runs[-1][-1] + 1:
            runs[-1].append(core)
        else:
            runs.append([core])
    return ",".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)
