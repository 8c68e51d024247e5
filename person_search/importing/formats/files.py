"""Files of exports, opened: whatever is wrong with one is a fault that names it."""

import csv
import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from ..annotated import Place
from ..reading import Reading


def read_text(path: Path, reading: Reading) -> str | None:
    """The text of a file in UTF-8, with or without a byte order mark; None after a fault."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        reading.fault(Place(path), f"cannot be read: {reason}", is_fatal=True)
        return None


def read_json(path: Path, reading: Reading) -> Any:
    """What a JSON file holds; None after a fault. A key that stands twice in an object is one."""
    text = read_text(path, reading)
    if text is None:
        return None
    try:
        return json.loads(text, object_pairs_hook=_unique)
    except json.JSONDecodeError as error:
        place, message = Place(path, f"line {error.lineno}"), f"not JSON: {error.msg}"
    except (ValueError, RecursionError) as error:
        place, message = Place(path), f"not JSON that can be read: {error}"
    reading.fault(place, message, is_fatal=True)
    return None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {twice!r} stands twice in an object")
    return found


def read_xml(path: Path, reading: Reading, is_fatal: bool = True) -> ElementTree.Element | None:
    """The root of an XML file; None after a fault."""
    try:
        return ElementTree.parse(path).getroot()
    except ElementTree.ParseError as error:
        line, _ = error.position
        place, message = Place(path, f"line {line}"), f"not XML: {error}"
    except (OSError, ValueError, LookupError) as error:  # LookupError: an encoding nobody knows
        reason = getattr(error, "strerror", None) or error
        place, message = Place(path), f"cannot be read: {reason}"
    reading.fault(place, message, is_fatal, loses=None if is_fatal else "pictures")
    return None


def read_rows(path: Path, reading: Reading, delimiter: str = ",") -> list[tuple[Place, list[str]]]:
    """Fields of the lines of a file without quotes, and where each line is; no empty ones."""
    text = read_text(path, reading) or ""
    rows = []
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            fields = line.split(delimiter) if delimiter else line.split()
            rows.append((Place(path, f"line {number}"), [field.strip() for field in fields]))
    return rows


def read_csv(path: Path, reading: Reading) -> list[tuple[Place, dict[str, str]]]:
    """Lines of a file with quotes and a heading, each as heading -> field."""
    text = read_text(path, reading)
    if text is None:
        return []
    try:
        rows = list(csv.DictReader(text.splitlines(keepends=True)))
    except csv.Error as error:
        reading.fault(Place(path), f"not CSV: {error}", is_fatal=True)
        return []
    return [
        (Place(path, f"row {number}"), {key: field or "" for key, field in row.items() if key})
        for number, row in enumerate(rows, start=1)
    ]


def texts(element: ElementTree.Element) -> dict[str, str]:
    """Tag -> text of the children of an XML element that have one."""
    found = {child.tag: (child.text or "").strip() for child in element}
    return {tag: text for tag, text in found.items() if text}
