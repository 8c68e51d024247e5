"""Dataclasses that are read from YAML: each field checks its value, and errors name the key."""

from collections.abc import Callable
from dataclasses import MISSING, field, fields
from typing import Any


def text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("must be text")
    return value


def one_of(*words: str) -> Callable:
    def check(value):
        if value not in words:
            raise ValueError(f"must be one of {', '.join(words)}")
        return value

    return check


def number(low: float, high: float) -> Callable:
    def check(value):
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise ValueError("must be a number")
        if not low <= value <= high:
            raise ValueError(f"must lie from {low:g} to {high:g}")
        return float(value)

    return check


def integer(low: int, high: int = 2**16) -> Callable:
    def check(value):
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise ValueError(f"must be a whole number from {low} to {high}")
        return value

    return check


def several(length: int, check: Callable) -> Callable:
    def check_all(values):
        if not isinstance(values, (list, tuple)) or len(values) != length:
            raise ValueError(f"must be a list of {length} values")
        return tuple(check(value) for value in values)

    return check_all


def file_name(value: Any) -> str:
    """The name of a file of the pack's own folder; a path could lead out of it."""
    if not isinstance(value, str) or not value or value in (".", ".."):
        raise ValueError("must be the name of a file")
    if "/" in value or "\\" in value or ":" in value or "\0" in value:
        raise ValueError("must be the name of a file in the pack's own folder, not a path")
    return value


def hashes(value: Any) -> tuple[str, ...]:
    """One sha256, or several where files of one name are known to do equally; none: unchecked."""
    values = [] if value is None else [value] if isinstance(value, str) else value
    hexadecimal = set("0123456789abcdef")
    for digest in values if isinstance(values, list) else [None]:
        if not isinstance(digest, str) or len(digest) != 64 or set(digest.lower()) - hexadecimal:
            raise ValueError("must be a sha256, 64 hexadecimal digits")
    return tuple(digest.lower() for digest in values)


def key(check: Callable, default: Any = MISSING) -> Any:
    """A field of ``pack.yaml``; ``check`` gives its value, or raises ValueError."""
    return field(default=default, metadata={"check": check})


class KeyProblem(Exception):
    """What is wrong with the value of a key, whose name grows as the error travels outwards."""

    def __init__(self, key: str, problem: str):
        super().__init__(f"{key}: {problem}")
        self.key, self.problem = key, problem


def at_key(key: str, check: Callable, value: Any) -> Any:
    """``check(value)``; what it finds wrong is said of ``key``."""
    try:
        return check(value)
    except KeyProblem as inner:
        raise KeyProblem(f"{key}.{inner.key}", inner.problem) from None
    except ValueError as error:
        shown = "" if isinstance(value, (dict, list)) else f", not {value!r}"
        raise KeyProblem(key, f"{error}{shown}") from None


def build(cls: type, content: Any) -> Any:
    """A dataclass from a mapping."""
    if not isinstance(content, dict):
        raise ValueError("must be a mapping of keys and values")
    known = {f.name: f for f in fields(cls)}
    for key in content:
        if key not in known:
            raise KeyProblem(str(key), f"no such key; legal here are {', '.join(known)}")
    for name, key in known.items():
        if key.default is MISSING and name not in content:
            raise KeyProblem(name, "is missing")
    return cls(
        **{name: at_key(name, known[name].metadata["check"], v) for name, v in content.items()}
    )


def without_defaults(part: Any) -> Any:
    """Plain lists, mappings and values of a dataclass; keys at their defaults are left out."""
    if hasattr(part, "__dataclass_fields__"):
        values = {f.name: (getattr(part, f.name), f.default) for f in fields(part)}
        return {
            name: without_defaults(value)
            for name, (value, default) in values.items()
            if value != default
        }
    if isinstance(part, dict):
        return {key: without_defaults(value) for key, value in part.items()}
    if isinstance(part, (list, tuple)):
        return [without_defaults(value) for value in part]
    return part
