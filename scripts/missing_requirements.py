"""Prints the requirements that the packages of this interpreter do not satisfy, one per line.

    python scripts/missing_requirements.py requirements.txt requirements-test.txt

Any OpenCV package counts as opencv-python-headless: all of them bring the module cv2 and overwrite one another's files.
"""
import importlib.metadata
import sys
from pathlib import Path

_OPENCV = ("opencv-python-headless", "opencv-python", "opencv-contrib-python-headless", "opencv-contrib-python")


def is_installed(requirement: str) -> bool:
    """Whether one of the packages that can stand for `requirement` ("name>=1.0,<2") is here in such a version."""
    from packaging.requirements import Requirement

    requirement = Requirement(requirement)
    for name in _OPENCV if requirement.name in _OPENCV else (requirement.name,):
        try:
            if requirement.specifier.contains(importlib.metadata.version(name), prereleases=True):
                return True
        except importlib.metadata.PackageNotFoundError:
            pass
    return False


def main() -> None:
    lines = [line.strip() for path in sys.argv[1:] for line in Path(path).read_text(encoding="utf-8").splitlines()]
    requirements = [line for line in lines if line and not line.startswith("#")]
    try:
        missing = [requirement for requirement in requirements if not is_installed(requirement)]
    except ImportError:  # without the package `packaging`, MindSpore is not here either
        missing = requirements
    print("".join(requirement + "\n" for requirement in missing), end="")


if __name__ == "__main__":
    main()
