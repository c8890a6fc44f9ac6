"""Prints a folder with AscendCL's real headers, acl/*.h, for the tests of the AscendCL engine.

    python fetch_acl_headers.py [folder]

They come from the PyPI package torch-npu, which carries the headers of a current CANN; nothing of it is installed or
executed, and no library comes with them. They are kept in the folder (by default in the virtual environment, which is
outside the source tree), so that the 43 MB are downloaded once. Exit code 1, with the reason, if that is impossible.
"""
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

VERSION = "2.13.0"
# One wheel for every machine and interpreter: only its headers are used.
WHEEL = ["--only-binary=:all:", "--platform=manylinux_2_28_x86_64", "--python-version=3.11", "--implementation=cp"]
INSIDE = "torch_npu/include/third_party/acl/inc/"


def fetch(folder: Path) -> None:
    """Downloads the wheel and puts its headers into `folder`, which appears complete or not at all."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as name:
        download = Path(name)
        done = subprocess.run([sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check",
                               "--no-deps", *WHEEL, f"--dest={download}", f"torch-npu=={VERSION}"],
                              capture_output=True, text=True)
        if done.returncode != 0:
            sys.exit(f"cannot download torch-npu {VERSION}: {(done.stderr.strip().splitlines() or ['pip failed'])[-1]}")
        with zipfile.ZipFile(next(download.glob("*.whl"))) as wheel:
            wheel.extractall(download, [member for member in wheel.namelist() if member.startswith(INSIDE)])
        try:
            os.rename(download / INSIDE, folder)
        except OSError:
            if not (folder / "acl" / "acl.h").exists():  # otherwise another process was first
                raise


def main() -> None:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else
                  Path(sys.prefix) / "share" / "ascend310_infer" / f"torch_npu-{VERSION}").absolute()
    if not (folder / "acl" / "acl.h").exists():
        fetch(folder)
    print(folder)


if __name__ == "__main__":
    main()
