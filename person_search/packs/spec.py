"""``pack.yaml``: what a pack is made of, and everything that decides its results.

Every field is checked when the file is read; a key that is unknown, missing or of a wrong value is
named. Sizes are (height, width) in pixels, means and deviations are those of pixels from 0 to 255.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml

from person_search.errors import PackError
from person_search.files import atomic_write

FILE_NAME = "pack.yaml"
FORMAT = 1
"""A later version of this project that reads packs otherwise counts on."""

KINDS = ("two-step", "one-step")
COLORS = ("BGR", "RGB")
RESIZES = ("letterbox", "stretch")
DECODES = ("yolox", "ssd", "boxes_scores")


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("must be text")
    return value


def _one_of(*words: str) -> Callable:
    def check(value):
        if value not in words:
            raise ValueError(f"must be one of {', '.join(words)}")
        return value

    return check


def _number(low: float, high: float) -> Callable:
    def check(value):
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise ValueError("must be a number")
        if not low <= value <= high:
            raise ValueError(f"must lie from {low:g} to {high:g}")
        return float(value)

    return check


def _integer(low: int, high: int = 2**16) -> Callable:
    def check(value):
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise ValueError(f"must be a whole number from {low} to {high}")
        return value

    return check


def _several(length: int, check: Callable) -> Callable:
    def check_all(values):
        if not isinstance(values, (list, tuple)) or len(values) != length:
            raise ValueError(f"must be a list of {length} values")
        return tuple(check(value) for value in values)

    return check_all


def _file_name(value: Any) -> str:
    """The name of a file of the pack's own folder; a path could lead out of it."""
    if not isinstance(value, str) or not value or value in (".", ".."):
        raise ValueError("must be the name of a file")
    if "/" in value or "\\" in value or ":" in value or "\0" in value:
        raise ValueError("must be the name of a file in the pack's own folder, not a path")
    return value


def _hashes(value: Any) -> tuple[str, ...]:
    """One sha256, or several where files of one name are known to do equally; none: unchecked."""
    values = [] if value is None else [value] if isinstance(value, str) else value
    hexadecimal = set("0123456789abcdef")
    for text in values if isinstance(values, list) else [None]:
        if not isinstance(text, str) or len(text) != 64 or set(text.lower()) - hexadecimal:
            raise ValueError("must be a sha256, 64 hexadecimal digits")
    return tuple(text.lower() for text in values)


def _key(check: Callable, default: Any = MISSING) -> Any:
    """A field of ``pack.yaml``; ``check`` gives its value, or raises ValueError."""
    return field(default=default, metadata={"check": check})


_SIZE = _several(2, _integer(1))
_PIXEL = _several(3, _number(-1000, 1000))
_DEVIATION = _several(3, _number(1e-6, 1000))


@dataclass(frozen=True)
class PackFile:
    """One file.

    Attributes:
        sha256: of the versions that are known to be right; the first one is that of ``url``.
        url: where it can be fetched.
        size: in bytes.
        note: what else a user has to know of it.
    """

    sha256: tuple[str, ...] = _key(_hashes)
    url: str | None = _key(_text, None)
    size: int | None = _key(_integer(1, 2**40), None)
    note: str | None = _key(_text, None)


@dataclass(frozen=True)
class Figure:
    """What was measured, in percent; ``data`` says on which, and of which boxes."""

    data: str = _key(_text)
    mAP: float = _key(_number(0, 100))  # noqa: N815, the name in every paper
    top1: float = _key(_number(0, 100))


@dataclass(frozen=True)
class DetectorSpec:
    """A network that finds persons.

    Attributes:
        model: its file, ``.onnx`` or ``.xml`` (OpenVINO, with the ``.bin`` of the same name).
        size: of its input.
        decode: what its outputs mean, see :mod:`.decode`.
        resize: "letterbox" keeps the shape of the picture, which stands at the top left and is
            filled up with ``fill``; "stretch" does not.
        person_class: index of persons among its classes; of "ssd" the label in the rows.
        nms_iou: of two boxes that overlap more, the one with the lower score goes.
        tiles: also look into so many tiles along the longer side; 1: only at the whole picture.
    """

    model: str = _key(_file_name)
    size: tuple[int, int] = _key(_SIZE)
    decode: str = _key(_one_of(*DECODES))
    person_class: int = _key(_integer(0))
    resize: str = _key(_one_of(*RESIZES))
    fill: int = _key(_integer(0, 255), 114)
    color: str = _key(_one_of(*COLORS), "BGR")
    mean: tuple[float, float, float] = _key(_PIXEL, (0.0, 0.0, 0.0))
    std: tuple[float, float, float] = _key(_DEVIATION, (1.0, 1.0, 1.0))
    nms_iou: float = _key(_number(0, 1), 0.5)
    tiles: int = _key(_integer(1, 32), 1)


@dataclass(frozen=True)
class EmbedderSpec:
    """A network that embeds a crop of one person; ``size`` of the crop, ``dim`` of the result."""

    model: str = _key(_file_name)
    size: tuple[int, int] = _key(_SIZE)
    dim: int = _key(_integer(1))
    color: str = _key(_one_of(*COLORS), "BGR")
    mean: tuple[float, float, float] = _key(_PIXEL, (0.0, 0.0, 0.0))
    std: tuple[float, float, float] = _key(_DEVIATION, (1.0, 1.0, 1.0))


@dataclass(frozen=True)
class SearchNetworkSpec:
    """A person search network, exported as two graphs over the same weights.

    Attributes:
        detect: picture -> boxes, scores, embeddings.
        embed: picture, boxes -> embeddings.
        min_size, max_size: the shorter side of the picture becomes ``min_size``, but the longer
            one no more than ``max_size``.
        divisible: the input is padded at the bottom and right to a multiple of this.
        dim: size of an embedding.
    """

    detect: str = _key(_file_name)
    embed: str = _key(_file_name)
    min_size: int = _key(_integer(8))
    max_size: int = _key(_integer(8))
    dim: int = _key(_integer(1))
    divisible: int = _key(_integer(1, 1024), 1)
    color: str = _key(_one_of(*COLORS), "BGR")
    mean: tuple[float, float, float] = _key(_PIXEL, (0.0, 0.0, 0.0))
    std: tuple[float, float, float] = _key(_DEVIATION, (1.0, 1.0, 1.0))


def _files(value: Any) -> dict[str, PackFile]:
    if not isinstance(value, dict) or not value:
        raise ValueError("must name each file of the pack, with its sha256")
    return {
        _file_name(name): _at(name, lambda entry: _build(PackFile, entry), entry)
        for name, entry in value.items()
    }


def _part(cls: type) -> Callable:
    return lambda value: _build(cls, value)


def _measured(value: Any) -> tuple[Figure, ...]:
    if not isinstance(value, list):
        raise ValueError("must be a list of figures")
    return tuple(
        _at(str(index), lambda row: _build(Figure, row), row) for index, row in enumerate(value)
    )


@dataclass(frozen=True)
class PackSpec:
    """Everything that ``pack.yaml`` says.

    Attributes:
        format: of this file.
        name, version, license, home: of the pack; ``license`` is said in full words.
        trained_on: the data that the weights learned from.
        kind: "two-step" (``detector`` and ``embedder``) or "one-step" (``network``).
        score_thresh: persons with a lower score are not reported.
        files: by name, in the folder of the pack.
        measured: figures, each with what it was measured on.
        needs: said to a user who has to do something by hand first.
    """

    format: int = _key(_integer(FORMAT, FORMAT))
    name: str = _key(_text)
    kind: str = _key(_one_of(*KINDS))
    license: str = _key(_text)
    trained_on: str = _key(_text)
    score_thresh: float = _key(_number(0, 1))
    files: dict[str, PackFile] = _key(_files)
    version: str = _key(_text, "1")
    home: str = _key(_text, "")
    detector: DetectorSpec | None = _key(_part(DetectorSpec), None)
    embedder: EmbedderSpec | None = _key(_part(EmbedderSpec), None)
    network: SearchNetworkSpec | None = _key(_part(SearchNetworkSpec), None)
    measured: tuple[Figure, ...] = _key(_measured, ())
    needs: str = _key(_text, "")

    @property
    def models(self) -> dict[str, str]:
        """Key of ``pack.yaml`` -> name of the model file there."""
        if self.kind == "one-step":
            return {"network.detect": self.network.detect, "network.embed": self.network.embed}
        return {"detector.model": self.detector.model, "embedder.model": self.embedder.model}

    @property
    def dim(self) -> int:
        """Size of an embedding."""
        return self.network.dim if self.kind == "one-step" else self.embedder.dim

    def config_hash(self) -> str:
        """Of the keys that decide an embedding: not of names, licenses, thresholds or tiles."""
        keys = {
            part: asdict(spec) if (spec := getattr(self, part)) else None
            for part in ("detector", "embedder", "network")
        }
        if self.detector:
            del keys["detector"]["tiles"]
        text = json.dumps([self.kind, keys], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def text(self) -> str:
        """The file, as :func:`parse_spec` reads it."""
        content = _without_defaults(self)
        return yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=100)

    def write(self, folder: Path) -> None:
        """Write ``pack.yaml`` into a folder."""
        with atomic_write(folder / FILE_NAME) as temporary:
            temporary.write_text(self.text(), encoding="utf-8")


def read_spec(folder: Path) -> PackSpec:
    """The ``pack.yaml`` of a folder.

    Raises:
        PackError: it is missing, cannot be read, or a key is wrong.
    """
    path = folder / FILE_NAME
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise PackError(f"{folder} is no pack: it holds no {FILE_NAME}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise PackError(f"{path} cannot be read: {error}") from error
    return parse_spec(text, str(path))


def parse_spec(text: str, name: str) -> PackSpec:
    """The spec in a text; ``name`` of the file is for the errors."""
    try:
        content = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise PackError(f"{name} is no YAML: {' '.join(str(error).split())}") from error
    try:
        spec = _build(PackSpec, content)
        _check_parts(spec)
    except (ValueError, _KeyProblem) as error:
        raise PackError(f"{name}: {error}") from error
    return spec


def _check_parts(spec: PackSpec) -> None:
    """What no single key can tell."""
    wanted = {"two-step": ("detector", "embedder"), "one-step": ("network",)}[spec.kind]
    for part in ("detector", "embedder", "network"):
        if (part in wanted) != (getattr(spec, part) is not None):
            verb = "needs" if part in wanted else "has no"
            raise _KeyProblem(part, f"a {spec.kind} pack {verb} such a section")
    for key, name in spec.models.items():
        if name not in spec.files:
            raise _KeyProblem(key, f"{name} is not among the files")


class _KeyProblem(Exception):
    """What is wrong with the value of a key, whose name grows as the error travels outwards."""

    def __init__(self, key: str, problem: str):
        super().__init__(f"{key}: {problem}")
        self.key, self.problem = key, problem


def _at(key: str, check: Callable, value: Any) -> Any:
    """``check(value)``; what it finds wrong is said of ``key``."""
    try:
        return check(value)
    except _KeyProblem as inner:
        raise _KeyProblem(f"{key}.{inner.key}", inner.problem) from None
    except ValueError as error:
        shown = "" if isinstance(value, (dict, list)) else f", not {value!r}"
        raise _KeyProblem(key, f"{error}{shown}") from None


def _build(cls: type, content: Any) -> Any:
    """A dataclass from a mapping."""
    if not isinstance(content, dict):
        raise ValueError("must be a mapping of keys and values")
    known = {f.name: f for f in fields(cls)}
    for key in content:
        if key not in known:
            raise _KeyProblem(str(key), f"no such key; legal here are {', '.join(known)}")
    for name, key in known.items():
        if key.default is MISSING and name not in content:
            raise _KeyProblem(name, "is missing")
    return cls(**{name: _at(name, known[name].metadata["check"], v) for name, v in content.items()})


def _without_defaults(part: Any) -> Any:
    """Plain lists, mappings and values of a dataclass; keys at their defaults are left out."""
    if hasattr(part, "__dataclass_fields__"):
        values = {f.name: (getattr(part, f.name), f.default) for f in fields(part)}
        return {
            name: _without_defaults(value)
            for name, (value, default) in values.items()
            if value != default
        }
    if isinstance(part, dict):
        return {key: _without_defaults(value) for key, value in part.items()}
    if isinstance(part, (list, tuple)):
        return [_without_defaults(value) for value in part]
    return part
