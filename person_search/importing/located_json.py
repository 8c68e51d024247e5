"""JSON files whose long lists remember on which line each element stands."""

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

from .annotated import Fault, Place

_SPACE = re.compile(r"[ \t\r\n]*")


class Located(NamedTuple):
    """An element of a list and where it starts."""

    value: Any
    place: Place


class _Reader:
    """Walks over the top level by itself; the elements are decoded by the standard library."""

    def __init__(self, path: Path, text: str):
        self.path, self.text, self.at = path, text, 0
        self.line, self.counted = 1, 0
        self.decode = json.JSONDecoder().raw_decode

    def next_of(self, characters: str) -> str:
        """Skips space and takes one of ``characters``."""
        self.skip_space()
        found = self.text[self.at : self.at + 1]
        if not found or found not in characters:
            raise json.JSONDecodeError(f"expected one of {characters}", self.text, self.at)
        self.at += 1
        return found

    def skip_space(self) -> str:
        """Skips space; returns the character behind it, still to be read."""
        self.at = _SPACE.match(self.text, self.at).end()
        return self.text[self.at : self.at + 1]

    def value(self) -> Any:
        self.skip_space()
        value, self.at = self.decode(self.text, self.at)
        return value

    def place(self) -> Place:
        self.line += self.text.count("\n", self.counted, self.at)
        self.counted = self.at
        return Place(self.path, self.line)

    def elements(self) -> list[Located]:
        self.next_of("[")
        if self.skip_space() == "]":
            self.at += 1
            return []
        found = []
        while True:
            self.skip_space()
            place = self.place()
            found.append(Located(self.value(), place))
            if self.next_of(",]") == "]":
                return found

    def object(self) -> dict[str, Any]:
        self.next_of("{")
        found = {}
        while self.skip_space() != "}":
            if found:
                self.next_of(",")
            self.skip_space()
            if self.text[self.at : self.at + 1] != '"':
                raise json.JSONDecodeError("expected a key", self.text, self.at)
            key = self.value()
            if key in found:
                raise json.JSONDecodeError(f"the key {key} a second time", self.text, self.at)
            self.next_of(":")
            found[key] = self.elements() if self.skip_space() == "[" else self.value()
        self.at += 1
        if self.skip_space():
            raise json.JSONDecodeError("expected the end of the file", self.text, self.at)
        return found


def load_located(path: Path, faults: list[Fault]) -> dict[str, Any] | None:
    """The object that a JSON file holds; lists right inside it are lists of :class:`Located`.

    Args:
        path: the file.
        faults: gets a fatal one where it cannot be read; the result is then None.
    """
    try:
        return _Reader(path, path.read_text(encoding="utf-8-sig")).object()
    except json.JSONDecodeError as error:
        place = Place(path, error.lineno)
        message = f"no JSON object from column {error.colno} on: {error.msg}"
        faults.append(Fault(place, message, is_fatal=True))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        faults.append(Fault(Place(path), f"cannot be read: {reason}", is_fatal=True))
    return None
