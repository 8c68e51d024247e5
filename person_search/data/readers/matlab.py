"""Files of MATLAB 5, looked over before scipy reads them: damaged ones crash its compiled parts."""

import struct
import zlib
from pathlib import Path

import numpy as np
from scipy.io import loadmat, whosmat

from person_search.errors import DatasetError

from .disk import parsing

_HEADER = 128

_COMPRESSED, _MATRIX = 15, 14

_BYTES = {1: 1, 2: 1, 3: 2, 4: 2, 5: 4, 6: 4, 7: 4, 9: 8, 12: 8, 13: 8, 16: 1, 17: 2, 18: 4}
"""Type of the numbers in an element -> bytes of one."""

_CELL, _STRUCT, _CHARACTERS = 1, 2, 4

_NUMERIC = range(6, 16)

_DEEPEST = 20

_LARGEST = 2**24
"""Of compressed variables that unfold to more bytes, only the checksum is looked at."""


def load_mat(path: Path, *variables: str) -> np.ndarray:
    """The first of ``variables`` that a MATLAB v5 file holds."""
    with parsing(path), path.open("rb") as file:
        _check(file.read())
        file.seek(0)
        contents = loadmat(file, variable_names=variables)
        for variable in variables:
            if variable in contents:
                return contents[variable]
        found = ", ".join(name for name, _, _ in whosmat(file)) or "nothing"
        raise DatasetError(f"{path} holds {found}, not {' or '.join(variables)}")


def unpack_strings(cells: np.ndarray) -> list[str]:
    """The strings of a MATLAB cell array, in column order."""
    return [str(cell.item()) for cell in cells.ravel()]


def _check(data: bytes) -> None:
    """Raises ValueError where the elements of a file do not fit into each other.

    A file is a header and elements; an element is a type, a number of bytes and content; that of a
    matrix is elements again: flags, dimensions, a name, and numbers or further matrices.
    """
    order = {b"\x00\x01IM": "<", b"\x01\x00MI": ">"}.get(data[124:_HEADER])
    if order is None:
        raise ValueError("no MATLAB 5 file")
    at = _HEADER
    while at < len(data):
        kind, start, end, at = _element(data, at, len(data), order)
        if kind == _COMPRESSED:
            content = zlib.decompress(data[start:end])  # also compares the checksum
            at = end
            if len(content) <= _LARGEST:
                kind, inner, end, _ = _element(content, 0, len(content), order)
                _check_matrix(content, kind, inner, end, order, 0)
        else:
            _check_matrix(data, kind, start, end, order, 0)


def _element(data: bytes, at: int, limit: int, order: str) -> tuple[int, int, int, int]:
    """Type, start and end of the content of an element, and where the next one begins.

    Up to four bytes may stand in the head itself: then the upper half of its first word is their
    number. Contents are filled up to multiples of eight bytes.
    """
    if at + 8 > limit:
        raise ValueError("an element is cut off")
    word, size = struct.unpack_from(f"{order}II", data, at)
    if word >> 16:
        kind, size, start, after = word & 0xFFFF, word >> 16, at + 4, at + 8
        if size > 4:
            raise ValueError("a small element of more than four bytes")
    else:
        kind, start = word, at + 8
        after = start + size + (-size % 8 if kind != _COMPRESSED else 0)
    if start + size > limit:
        raise ValueError("an element is larger than what holds it")
    return kind, start, start + size, min(after, limit)


def _check_matrix(data: bytes, kind: int, at: int, end: int, order: str, depth: int) -> None:
    if kind != _MATRIX or depth > _DEEPEST:
        raise ValueError(f"an element of type {kind} where a matrix should be")
    if at == end:
        return  # an empty cell
    flags, shape, (name, *_), at = _head(data, at, end, order)
    number = int(np.prod([1, *shape], dtype=object))
    if name != 1 or min(shape) < 0 or len(shape) < 2 or number > end - at + 8 * _LARGEST:
        raise ValueError("a matrix without a size or name")
    code = flags & 0xFF
    if code in (_CELL, _STRUCT):
        if code == _STRUCT:
            fields, at = _count_fields(data, at, end, order)
            number *= fields
        for _ in range(number):
            inner, start, stop, at = _element(data, at, end, order)
            _check_matrix(data, inner, start, stop, order, depth + 1)
    elif code == _CHARACTERS or code in _NUMERIC:
        parts = 2 if flags & 0x0800 else 1  # real, and imaginary
        for _ in range(parts):
            inner, start, stop, at = _element(data, at, end, order)
            if inner not in _BYTES or (stop - start) % _BYTES[inner]:
                raise ValueError("numbers of a type that there is not")
            if code != _CHARACTERS and (stop - start) // _BYTES[inner] != number:
                raise ValueError("a matrix with more or fewer numbers than its size says")
    else:
        raise ValueError(f"an array of class {code}, which no data set holds")


def _head(data: bytes, at: int, end: int, order: str) -> tuple[int, list[int], tuple, int]:
    """Flags, dimensions, the element of the name, and where the rest of a matrix begins."""
    kind, start, stop, at = _element(data, at, end, order)
    if (kind, stop - start) != (6, 8):
        raise ValueError("a matrix without flags")
    flags = struct.unpack_from(f"{order}I", data, start)[0]
    kind, start, stop, at = _element(data, at, end, order)
    if kind != 5 or (stop - start) % 4 or stop - start > 4 * 32:
        raise ValueError("a matrix without dimensions")
    shape = list(struct.unpack_from(f"{order}{(stop - start) // 4}i", data, start))
    name = _element(data, at, end, order)
    return flags, shape, name, name[3]


def _count_fields(data: bytes, at: int, end: int, order: str) -> tuple[int, int]:
    """How many fields a struct has, and where its values begin."""
    kind, start, stop, at = _element(data, at, end, order)
    if (kind, stop - start) != (5, 4):
        raise ValueError("a struct without the length of its names")
    length = struct.unpack_from(f"{order}i", data, start)[0]
    kind, start, stop, at = _element(data, at, end, order)
    if kind != 1 or length <= 0 or (stop - start) % length:
        raise ValueError("a struct whose names do not fit")
    names = [data[k : k + length].split(b"\0")[0] for k in range(start, stop, length)]
    if len(set(names)) < len(names) or not all(names):
        raise ValueError("a struct whose names are empty or the same")
    return len(names), at
