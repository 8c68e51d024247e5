"""Pickles of arrays and plain values, of which nothing is run and nothing is believed."""

import pickle
import pickletools
from collections import OrderedDict
from typing import Any

import numpy as np


class PickledDtype:
    """In the place of ``numpy.dtype`` while a pickle is read: numbers and truth values alone."""

    def __init__(self, name: str, *_):
        self.dtype = np.dtype(str(name))
        if self.dtype.kind not in "?biufc":
            raise pickle.UnpicklingError(f"an array of {name}, which are no numbers")

    def __setstate__(self, state: tuple) -> None:
        self.dtype = self.dtype.newbyteorder(state[1])  # the rest is of structured types


class PickledArray:
    """In the place of a numpy array while a pickle is read.

    numpy's own ``__setstate__`` believes what it is told of types and shapes.

    Attributes:
        array: the array.
    """

    array = np.zeros(0)

    def __init__(self, *_):
        pass

    def __setstate__(self, state: tuple) -> None:
        _, shape, dtype, fortran, content = state
        self.fill(content, dtype, shape, "F" if fortran else "C")

    def fill(
        self, content: bytes | str, dtype: PickledDtype, shape: tuple, order: str
    ) -> "PickledArray":
        """Set the array from its bytes, which Python 2 called a string."""
        content = content.encode("latin1") if isinstance(content, str) else content
        flat = np.frombuffer(content, dtype.dtype) if len(content) else np.zeros(0, dtype.dtype)
        self.array = flat.reshape(shape, order=order)
        return self


def _scalar(dtype: PickledDtype, content: bytes | str) -> Any:
    return PickledArray().fill(content, dtype, (), "C").array[()]


def _from_buffer(content: bytes, dtype: PickledDtype, shape: tuple, order: str) -> PickledArray:
    return PickledArray().fill(content, dtype, shape, order)


NUMPY = {
    ("numpy", "ndarray"): PickledArray,
    ("numpy", "dtype"): PickledDtype,
    **{(f"numpy.{core}.multiarray", "_reconstruct"): PickledArray for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): _scalar for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _from_buffer for core in ("core", "_core")},
}
"""Module and name of all that arrays and scalars are pickled with, by numpy 1 and 2."""

_PLAIN = {
    ("collections", "OrderedDict"): OrderedDict,
    **{(builtins, "set"): set for builtins in ("builtins", "__builtin__")},
    # Protocol 2 writes bytes as a call, and no bytes as another one.
    ("_codecs", "encode"): lambda text, _encoding: text.encode("latin1"),
    ("__builtin__", "bytes"): lambda: b"",
}


class _ArrayUnpickler(pickle.Unpickler):
    """Knows arrays and plain types; whatever else a pickle asks for is refused by name."""

    def find_class(self, module: str, name: str) -> Any:
        found = (NUMPY | _PLAIN).get((module, name))
        if found is None:
            raise pickle.UnpicklingError(f"Unsupported class {module}.{name}")
        return found


def load_pickle(name: str) -> Any:
    """What a pickle of arrays and plain values holds; arrays are :class:`PickledArray`.

    Raises:
        pickle.UnpicklingError: it asks for something else, which is named.
        Exception: of many kinds, where the file is damaged.
    """
    with open(name, "rb") as file:
        # A pickle numbers what it remembers, and the C code makes room for the highest number: ten
        # bytes could ask for 32 GB.
        for count, (opcode, argument, _) in enumerate(pickletools.genops(file)):
            if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT") and argument > 1000 + 2 * count:
                raise pickle.UnpicklingError(f"entry {argument} of a memo of {count}")
        file.seek(0)
        return _ArrayUnpickler(file, encoding="latin1").load()
