"""MindSpore reads its environment while it is imported, so this comes before every test module."""
from src.runtime.device import setup_device

setup_device("CPU")
