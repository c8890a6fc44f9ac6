"""One side of a comparison in a process of its own, which works only when told to: two frameworks that would disturb
each other in one process can be measured in turns."""
import json
import resource
import subprocess
import sys
from typing import Callable


class SideProcess:
    """Starts `command`, whose program calls `serve`; `facts` is what it said when it was ready."""

    def __init__(self, command):
        self.process = subprocess.Popen([str(part) for part in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        text=True)
        self.facts = json.loads(self._answer())

    def run(self) -> None:
        """Has the work done once."""
        self._tell("run")
        self._answer()

    def finish(self) -> dict:
        """Ends the process and returns its report."""
        self._tell("finish")
        report = json.loads(self._answer())
        self.process.wait()
        return report

    def _tell(self, word: str) -> None:
        self.process.stdin.write(word + "\n")
        self.process.stdin.flush()

    def _answer(self) -> str:
        for line in self.process.stdout:  # a framework may print lines of its own
            if line.startswith("side: "):
                return line[len("side: "):]
        raise SystemExit(f"the command ended with code {self.process.wait()}: {' '.join(self.process.args)}")


def serve(facts: dict, run: Callable[[], float], memory_before: float) -> None:
    """Works when told to; the report has the values that `run` gave and the memory it took.

    Args:
        memory_before: `peak_memory()` before anything was built.
    """
    values = []
    print("side: " + json.dumps(facts), flush=True)
    for word in sys.stdin:
        if word.strip() == "finish":
            break
        values.append(run())
        print("side: done", flush=True)
    print("side: " + json.dumps({"values": values, "peak_mb": peak_memory() - memory_before}), flush=True)


def peak_memory() -> float:
    """The most memory that this process has had so far, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
