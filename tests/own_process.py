"""Runs a function that compiles a whole network in a process that ends with it.

MindSpore keeps the memory of each compiled graph until its process ends: 1.5 GB for one training step of ICNet. Three
test processes that compile thirty of them may need more than 24 GiB.
"""
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from rtseg.runtime.device import setup_device


def in_own_process(function, *arguments):
    """Calls a function of a module with arguments that can be pickled; what it raises is raised here."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=setup_device, initargs=("CPU",)) as pool:
        return pool.submit(function, *arguments).result()
