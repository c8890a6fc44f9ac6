"""What is installed, without importing it."""
import importlib.metadata
from typing import Optional


def installed_version(package: str) -> Optional[str]:
    """The version of a package as pip knows it; None if it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
