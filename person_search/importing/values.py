"""What values of exports mean: numbers, flags, sizes, names of splits. All raise ValueError."""

import math
import re
from typing import Any

from person_search.data.readers.records import LARGEST

_FLAGS = {"0": False, "1": True, "false": False, "true": True, "no": False, "yes": True, "": False}

_SPLITS = {
    "train": ("train", "training", "trainset", "train_set"),
    "valid": ("valid", "val", "validation", "dev"),
    "test": ("test", "testing", "gallery"),
}


def number(value: Any) -> float:
    """A finite number, from a number or from text; True and False are none."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f"{value!r} is not a number")
    try:
        found = float(value)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{str(value)[:40]!r} is not a number") from error
    if not math.isfinite(found):
        raise ValueError(f"{value!r} is not finite")
    return found


def whole(value: Any) -> int:
    """A whole number: 3, 3.0, "3" or "3.0"."""
    found = number(value)
    if found != int(found):
        raise ValueError(f"{value!r} is not a whole number")
    return int(found)


def flag(value: Any) -> bool:
    """0, 1, true or false, also as text; None is False."""
    if value is None or isinstance(value, bool):
        return bool(value)
    text = str(value).strip().lower().removesuffix(".0")
    if text not in _FLAGS:
        raise ValueError(f"{value!r} is neither 0 nor 1")
    return _FLAGS[text]


def box(xywh: Any) -> tuple[float, float, float, float]:
    """Four numbers x, y, width, height of a size that a picture can have."""
    if not isinstance(xywh, list | tuple) or len(xywh) != 4:
        raise ValueError(f"the box {str(xywh)[:80]}: expected four numbers x, y, width, height")
    try:
        x, y, width, height = map(number, xywh)
    except ValueError as error:
        raise ValueError(f"the box {str(list(xywh))[:80]}: {error}") from error
    if max(map(abs, (x, y, width, height))) > LARGEST:
        raise ValueError(f"the box {str(list(xywh))[:80]} is larger than any picture")
    return x, y, width, height


def corners(x1: Any, y1: Any, x2: Any, y2: Any) -> tuple[float, float, float, float]:
    """x, y, width, height of a box that two corners give."""
    x1, y1, x2, y2 = box([x1, y1, x2, y2])
    return x1, y1, x2 - x1, y2 - y1


def picture_size(height: Any, width: Any) -> tuple[int, int] | None:
    """(height, width); None where an export does not know it: null, 0 and -1 say so."""
    unknown = [value is None or value == "" or whole(value) in (0, -1) for value in (height, width)]
    if all(unknown):
        return None
    if any(unknown) or whole(height) < 0 or whole(width) < 0:
        raise ValueError(f"width {width!r}, height {height!r}: expected two numbers of pixels")
    return whole(height), whole(width)


def number_or_text(text: str) -> int | str:
    """What a format without types (XML, file names) names: "12" is a number, "012" is not.

    "12.0", as programs write numbers of attributes, is 12.
    """
    text = text.strip()
    plain = text.removesuffix(".0")
    return int(plain) if re.fullmatch(r"-?(0|[1-9]\d{0,17})", plain) else text


def split_of(name: str) -> str | None:
    """ "train", "valid" or "test", if a folder, file or subset is called so."""
    words = re.split(r"[^a-z]+", name.lower())  # "instances_val2017" -> instances, val
    found = {split for split, names in _SPLITS.items() if set(names) & {name.lower(), *words}}
    return found.pop() if len(found) == 1 else None
