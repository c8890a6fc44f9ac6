"""What the tests of the built program share: a folder for a model, its data and its results."""
import subprocess
import tempfile
import unittest
from pathlib import Path


class ProgramTest(unittest.TestCase):
    """Each test has a folder of its own, and runs the program in it."""

    program = ""  # `main` sets it

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.data = self.folder / "data"
        self.data.mkdir()
        self.model = self.folder / "net.onnx"
        self.results = self.folder / "result_Files"

    def run_program(self, *flags, dataset="", **options):
        """Infers `dataset`: a path, None to leave it out, by default the folder of the test."""
        given = [] if dataset is None else [f"--dataset_path={dataset or self.data}"]
        return subprocess.run([self.program, f"--model_path={self.model}", *given, *flags], cwd=self.folder,
                              capture_output=True, text=True, timeout=100, **options)


def main(arguments):
    """Runs the tests of the calling script on the program that its first argument names."""
    ProgramTest.program = str(Path(arguments.pop(1)).resolve())
    unittest.main()
