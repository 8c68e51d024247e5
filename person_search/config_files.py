"""Config files: found by name from any folder, and read as nothing but plain values."""

import difflib
import os
from pathlib import Path

import yaml

from .errors import ConfigError

_PACKAGE = Path(__file__).resolve().parent
CONFIGS = next((f for f in (_PACKAGE / "configs", _PACKAGE.parent / "configs") if f.is_dir()), None)
"""The project's configs: beside the package in a checkout, inside of it where a wheel put them."""

BASE_KEY = "_BASE_"
MOST_VALUES = 100_000
"""No config is as large; a few lines of aliases of aliases can be, and would fill the memory."""


def config_names() -> list[str]:
    """Names of the project's configs, such as "PRW/stl_mrfp.yaml"."""
    if CONFIGS is None:
        return []
    names = (path.relative_to(CONFIGS).as_posix() for path in CONFIGS.rglob("*.yaml"))
    return sorted(name for name in names if not name.startswith("_"))


def find_config(name: str) -> Path:
    """The file that a path or a name means.

    Args:
        name: a path; or the name of one of the project's configs, with or without "configs/"
            before it, from any folder.

    Raises:
        ConfigError: no such file, with the names most like it.
    """
    if os.path.isfile(path := os.path.expanduser(name)):  # pathlib's raises for odd names
        return Path(path)
    known = config_names()
    short = Path(name).as_posix().removeprefix("./").removeprefix("configs/")
    if CONFIGS and short in known:
        return CONFIGS / short
    near = difflib.get_close_matches(short, known, n=3, cutoff=0.5)
    raise ConfigError(
        f"no config file {name or repr(name)}: give a path, or the name of one of the project's "
        f"configs, such as {', '.join(near or known[:3])}"
    )


def load_config_file(path: Path, _below: tuple[Path, ...] = ()) -> dict:
    """The keys and values of a YAML file, over those of the files that its ``_BASE_`` names.

    ``_BASE_`` is a name or a list of names, where a later one overrides an earlier one: each
    relative to the file itself, or one that :func:`find_config` knows. This is what detectron2
    does, but for two things: a file is never allowed to run code (tags of Python objects are
    refused), and no file is fetched from the network.

    Raises:
        ConfigError: a file cannot be read, or is not what is described here.
    """
    path = path.resolve()
    if path in _below:
        raise ConfigError(f"{path}: its {BASE_KEY} leads back to itself")
    try:
        loaded = yaml.safe_load(path.read_text(encoding="utf-8"))
        if _size(loaded, {}) > MOST_VALUES:
            raise ConfigError(f"{path} is not a config: its aliases expand to too many values")
    except yaml.constructor.ConstructorError as error:
        raise ConfigError(
            f"{path}: {_one_line(error)}. A config holds plain values only, and no tags of Python "
            "objects, since these can run code: write the value itself"
        ) from error
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise ConfigError(f"{path} cannot be read as YAML: {_one_line(error)}") from error
    if not isinstance(loaded, dict):
        raise ConfigError(f"{path} is not a config: it holds no keys and values")
    bases = loaded.pop(BASE_KEY, [])
    bases = [bases] if isinstance(bases, str) else bases
    if not (isinstance(bases, list) and all(isinstance(base, str) for base in bases)):
        raise ConfigError(f"{path}: {BASE_KEY} is {bases!r}; legal: a file, or a list of files")
    result: dict = {}
    for base in bases:
        _merge(load_config_file(_find_base(base, path), (*_below, path)), result, path)
    _merge(loaded, result, path)
    return result


def _find_base(base: str, path: Path) -> Path:
    beside = os.path.join(path.parent, os.path.expanduser(base))
    try:
        return Path(beside) if os.path.isfile(beside) else find_config(base)
    except ConfigError as error:
        raise ConfigError(f"{path}: {BASE_KEY}: {error}") from error


def _merge(values: dict, into: dict, path: Path) -> None:
    for key, value in values.items():
        below = into.get(key)
        if isinstance(value, dict) and (key not in into or isinstance(below, dict)):
            # A copy: an alias (``*name``) is the same dict in two places, which may differ later.
            _merge(value, into.setdefault(key, {}), path)
        elif key in into and isinstance(value, dict) != isinstance(below, dict):
            raise ConfigError(f"{path}: {key} is a section in one file and a value in another")
        else:
            into[key] = value


def _size(value: object, known: dict[int, int]) -> int:
    """Number of values that are reached from this one, those behind an alias as often as it is."""
    if not isinstance(value, (dict, list)):
        return 1
    if id(value) not in known:
        parts = value.values() if isinstance(value, dict) else value
        known[id(value)] = 1 + sum(_size(part, known) for part in parts)
    return known[id(value)]


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
