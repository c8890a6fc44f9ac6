"""Reads the weight files of PyTorch without PyTorch, and without ever running what is in them.

A .pth file is a pickle, and a pickle may call any function. Here only three harmless things can be named in it: ordered
dictionaries, tensors and their storages. Everything else is refused.
"""
import collections
import io
import math
import pickle
import pickletools
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any, BinaryIO, Callable, Dict, Sequence, Union

import numpy as np

from rtseg.utils.errors import DataError
from rtseg.utils.files import open_regular_file

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C  # opens a file in the format from before PyTorch 1.6, still in use
_DTYPES = {"FloatStorage": "<f4", "DoubleStorage": "<f8", "HalfStorage": "<f2", "LongStorage": "<i8",
           "IntStorage": "<i4", "ShortStorage": "<i2", "CharStorage": "i1", "ByteStorage": "u1", "BoolStorage": "?"}
_WRAPPERS = ("state_dict", "model")
_DAMAGED = (pickle.UnpicklingError, zipfile.BadZipFile, zlib.error, struct.error, EOFError, KeyError, IndexError,
            ValueError, TypeError, AttributeError, OverflowError, MemoryError, RuntimeError)
_MOST_TUPLES = 100_000  # a network has a few for each tensor
_LONGEST_KEY = 1000


def read_state_dict(path: Union[str, Path]) -> Dict[str, np.ndarray]:
    """The weights in a .safetensors or PyTorch (.pth, .pt) file, by the names they have there.

    A `state_dict` or `model` dictionary around them and a `module.` before each name are taken off.

    Raises:
        DataError: no such file, damaged, of another kind, or a pickle that holds more than weights.
    """
    path = Path(path)
    try:
        return _weights_of(_read_safetensors(path) if path.suffix == ".safetensors" else _read_pickle(path))
    except OSError as error:
        raise DataError(f"expected a weight file at {path}; {error.strerror}") from None
    except _DAMAGED as error:
        raise DataError(f"{path}: expected weights as PyTorch or safetensors write them, found a file that cannot be "
                        f"read as such; it may be truncated or of another kind ({error})") from None


def _weights_of(content: Any) -> Dict[str, np.ndarray]:
    for wrapper in _WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
    if not isinstance(content, dict):
        raise ValueError(f"expected a dictionary of weights, found {type(content).__name__}")
    state = {str(key): value for key, value in content.items() if isinstance(value, np.ndarray)}
    if not state:
        raise ValueError(f"expected weights by name, found none; its keys are {', '.join(map(str, content))[:1000]}")
    if max(map(len, state)) > _LONGEST_KEY:
        raise ValueError(f"expected names of at most {_LONGEST_KEY} characters, found {max(map(len, state))}")
    return {key[len("module."):] if key.startswith("module.") else key: value for key, value in state.items()}


def _read_safetensors(path: Path) -> Dict[str, np.ndarray]:
    try:
        from safetensors import SafetensorError
        from safetensors.numpy import load_file
    except ImportError:
        raise DataError(f"{path}: reading safetensors needs the package: pip install safetensors") from None
    open_regular_file(path).close()  # load_file's errors do not say why, and it would wait for a pipe
    try:
        return load_file(str(path))
    except SafetensorError as error:
        raise ValueError(error) from None


def _read_pickle(path: Path) -> Any:
    with open_regular_file(path) as file:
        if zipfile.is_zipfile(file):
            with zipfile.ZipFile(file) as archive:
                if sum(entry.file_size for entry in archive.infolist()) > path.stat().st_size:
                    raise ValueError("its parts are compressed, which PyTorch never does")
                return _read_zip(archive)
        file.seek(0)
        return _read_legacy(file, path.stat().st_size)


LoadStorage = Callable[[Any, np.dtype, int], np.ndarray]


class _WeightsUnpickler(pickle.Unpickler):
    """`load_storage(key, dtype, count)` gives the 1-D array of a storage."""

    def __init__(self, file: BinaryIO, load_storage: LoadStorage) -> None:
        super().__init__(file, encoding="utf-8")
        self.file = file
        self.load_storage = load_storage
        self.storages: Dict[Any, np.ndarray] = {}

    def load(self) -> Any:
        """Raises before a pickle can take gigabytes, or all of the stack, with a few bytes."""
        start, tuples = self.file.tell(), 0
        for count, (opcode, argument, _) in enumerate(pickletools.genops(self.file)):
            tuples += "TUPLE" in opcode.name
            if "PUT" in opcode.name and int(argument or 0) > count:
                raise pickle.UnpicklingError(f"its memo has an entry {argument} after {count} instructions")
        if tuples > _MOST_TUPLES:
            raise pickle.UnpicklingError(f"it has {tuples} tuples, more than any network")
        self.file.seek(start)
        return super().load()

    def find_class(self, module: str, name: str) -> Any:
        allowed = {("collections", "OrderedDict"): collections.OrderedDict,
                   # A function of its own for each file, because a pickle may give it other defaults.
                   ("torch._utils", "_rebuild_tensor_v2"): lambda *arguments: _rebuild_tensor(*arguments),
                   ("torch._utils", "_rebuild_parameter"): lambda tensor, *_: tensor}
        if module == "torch" and name in _DTYPES:
            return np.dtype(_DTYPES[name])
        if (module, name) not in allowed:
            raise pickle.UnpicklingError(f"'{module}.{name}' in it is not a plain weight and is not loaded, for "
                                         "safety; open the file with PyTorch and save its state dict alone")
        return allowed[module, name]

    def persistent_load(self, identity: Any) -> np.ndarray:
        kind, dtype, key, _, count = identity[:5]
        if kind != "storage" or not isinstance(dtype, np.dtype):
            raise pickle.UnpicklingError(f"unknown reference {kind}")
        if key not in self.storages:
            self.storages[key] = self.load_storage(key, dtype, count)
        return self.storages[key]


def _rebuild_tensor(storage: np.ndarray, offset: int, shape: Sequence[int], strides: Sequence[int],
                    *_: Any) -> np.ndarray:
    """A view of the storage; strides are in elements."""
    last = offset + sum((size - 1) * stride for size, stride in zip(shape, strides))
    empty = 0 in shape
    if len(shape) != len(strides) or min((offset, *shape, *strides)) < 0 or (not empty and last >= storage.size):
        raise pickle.UnpicklingError("a tensor lies outside its storage")
    if math.prod(shape) > storage.size:  # a few bytes repeated without end
        raise pickle.UnpicklingError("a tensor is larger than its storage")
    return np.lib.stride_tricks.as_strided(storage[offset:], shape, [stride * storage.itemsize for stride in strides])


def _read_zip(archive: zipfile.ZipFile) -> Any:
    root = next(name for name in archive.namelist() + ["data.pkl"] if name.endswith("data.pkl"))[:-len("data.pkl")]
    if root + "byteorder" in archive.namelist() and archive.read(root + "byteorder") != b"little":
        raise ValueError("its numbers are big-endian")
    return _WeightsUnpickler(
        io.BytesIO(archive.read(root + "data.pkl")),
        lambda key, dtype, count: np.frombuffer(archive.read(f"{root}data/{key}"), dtype, count)).load()


def _read_legacy(file: BinaryIO, file_size: int) -> Any:
    """Pickles of magic number, version, system, content and storage keys, then count and bytes of each storage."""
    def refuse(*_: Any) -> np.ndarray:
        raise pickle.UnpicklingError("unexpected storage")

    def reserve(_: Any, dtype: np.dtype, count: int) -> np.ndarray:
        if not 0 <= count * dtype.itemsize <= file_size:
            raise pickle.UnpicklingError("a storage is larger than the file")
        return np.empty(count, dtype)

    if _WeightsUnpickler(file, refuse).load() != _LEGACY_MAGIC:
        raise ValueError("it is no PyTorch file")
    _WeightsUnpickler(file, refuse).load()
    if not _WeightsUnpickler(file, refuse).load()["little_endian"]:
        raise ValueError("its numbers are big-endian")
    unpickler = _WeightsUnpickler(file, reserve)
    content = unpickler.load()
    for key in _WeightsUnpickler(file, refuse).load():
        storage = unpickler.storages[key]
        count = struct.unpack("<q", file.read(8))[0]
        data = file.read(storage.nbytes)
        if count != storage.size or len(data) != storage.nbytes:
            raise EOFError("the data of a storage is cut short")
        storage[:] = np.frombuffer(data, storage.dtype)
    return content
