"""``pack.yaml``: what a pack is made of, and everything that decides its results.

Every field is checked when the file is read; a key that is unknown, missing or of a wrong value is
named. Sizes are (height, width) in pixels, means and deviations are those of pixels from 0 to 255.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from person_search.errors import PackError
from person_search.files import atomic_write

from .fields import (
    KeyProblem,
    at_key,
    build,
    file_name,
    hashes,
    integer,
    key,
    number,
    one_of,
    several,
    text,
    without_defaults,
)

FILE_NAME = "pack.yaml"
FORMAT = 1
"""A later version of this project that reads packs otherwise counts on."""

KINDS = ("two-step", "one-step")
COLORS = ("BGR", "RGB")
RESIZES = ("letterbox", "stretch", "none")
CROP_RESIZES = ("linear", "area", "bicubic")
EDGE_RESIZES = ("pillow", "torchvision")
DECODES = ("yolox", "ssd", "boxes_scores")

LATER_KEYS = (("embedder", "resize"), ("network", "resize"))
"""Keys that are younger than galleries: at their defaults, a pack is what it was without them."""


_SIZE = several(2, integer(1))
_PIXEL = several(3, number(-1000, 1000))
_DEVIATION = several(3, number(1e-6, 1000))


@dataclass(frozen=True)
class PackFile:
    """One file.

    Attributes:
        sha256: of the versions that are known to be right; the first one is that of ``url``.
        url: where it can be fetched.
        size: in bytes.
        note: what else a user has to know of it.
    """

    sha256: tuple[str, ...] = key(hashes)
    url: str | None = key(text, None)
    size: int | None = key(integer(1, 2**40), None)
    note: str | None = key(text, None)


@dataclass(frozen=True)
class Figure:
    """What was measured, in percent; ``data`` says on which, and of which boxes."""

    data: str = key(text)
    mAP: float = key(number(0, 100))  # noqa: N815, the name in every paper
    top1: float = key(number(0, 100))


@dataclass(frozen=True)
class DetectorSpec:
    """A network that finds persons.

    Attributes:
        model: its file, ``.onnx`` or ``.xml`` (OpenVINO, with the ``.bin`` of the same name).
        decode: what its outputs mean, see :mod:`.decode`.
        resize: "letterbox" keeps the shape of the picture, which stands at the top left and is
            filled up with ``fill``; "stretch" does not; a network of "none" takes pictures of any
            size.
        person_class: index of persons among its classes; of "ssd" the label in the rows.
        size: of its input, unless it takes any.
        nms_iou: of two boxes that overlap more, the one with the lower score goes.
        tiles: also look into so many tiles along the longer side; 1: only at the whole picture.
    """

    model: str = key(file_name)
    decode: str = key(one_of(*DECODES))
    person_class: int = key(integer(0))
    resize: str = key(one_of(*RESIZES))
    size: tuple[int, int] | None = key(_SIZE, None)
    fill: int = key(integer(0, 255), 114)
    color: str = key(one_of(*COLORS), "BGR")
    mean: tuple[float, float, float] = key(_PIXEL, (0.0, 0.0, 0.0))
    std: tuple[float, float, float] = key(_DEVIATION, (1.0, 1.0, 1.0))
    nms_iou: float = key(number(0, 1), 0.5)
    tiles: int = key(integer(1, 32), 1)


@dataclass(frozen=True)
class EmbedderSpec:
    """A network that embeds a crop of one person.

    Attributes:
        model: its file, as of a detector.
        size: of the crop.
        dim: of the embedding.
        resize: how a crop is brought to its size, see :func:`.pixels.cut_out`.
    """

    model: str = key(file_name)
    size: tuple[int, int] = key(_SIZE)
    dim: int = key(integer(1))
    resize: str = key(one_of(*CROP_RESIZES), "linear")
    color: str = key(one_of(*COLORS), "BGR")
    mean: tuple[float, float, float] = key(_PIXEL, (0.0, 0.0, 0.0))
    std: tuple[float, float, float] = key(_DEVIATION, (1.0, 1.0, 1.0))


@dataclass(frozen=True)
class SearchNetworkSpec:
    """A person search network, exported as two graphs over the same weights.

    Attributes:
        detect: picture -> boxes, scores, embeddings.
        embed: picture, boxes -> embeddings.
        min_size, max_size: the shorter side of the picture becomes ``min_size``, but the longer
            one no more than ``max_size``.
        resize: how, see :func:`.pixels.resize_shortest`.
        divisible: the input is padded at the bottom and right to a multiple of this.
        dim: size of an embedding.
    """

    detect: str = key(file_name)
    embed: str = key(file_name)
    min_size: int = key(integer(8))
    max_size: int = key(integer(8))
    dim: int = key(integer(1))
    divisible: int = key(integer(1, 1024), 1)
    resize: str = key(one_of(*EDGE_RESIZES), "pillow")
    color: str = key(one_of(*COLORS), "BGR")
    mean: tuple[float, float, float] = key(_PIXEL, (0.0, 0.0, 0.0))
    std: tuple[float, float, float] = key(_DEVIATION, (1.0, 1.0, 1.0))


def _files(value: Any) -> dict[str, PackFile]:
    if not isinstance(value, dict) or not value:
        raise ValueError("must name each file of the pack, with its sha256")
    return {
        file_name(name): at_key(name, lambda entry: build(PackFile, entry), entry)
        for name, entry in value.items()
    }


def _part(cls: type) -> Callable:
    return lambda value: build(cls, value)


def _measured(value: Any) -> tuple[Figure, ...]:
    if not isinstance(value, list):
        raise ValueError("must be a list of figures")
    return tuple(
        at_key(str(index), lambda row: build(Figure, row), row) for index, row in enumerate(value)
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

    format: int = key(integer(FORMAT, FORMAT))
    name: str = key(text)
    kind: str = key(one_of(*KINDS))
    license: str = key(text)
    trained_on: str = key(text)
    score_thresh: float = key(number(0, 1))
    files: dict[str, PackFile] = key(_files)
    version: str = key(text, "1")
    home: str = key(text, "")
    detector: DetectorSpec | None = key(_part(DetectorSpec), None)
    embedder: EmbedderSpec | None = key(_part(EmbedderSpec), None)
    network: SearchNetworkSpec | None = key(_part(SearchNetworkSpec), None)
    measured: tuple[Figure, ...] = key(_measured, ())
    needs: str = key(text, "")

    @property
    def models(self) -> dict[str, str]:
        """Key of ``pack.yaml`` -> name of the model file there."""
        if self.network:
            return {"network.detect": self.network.detect, "network.embed": self.network.embed}
        parts = {"detector.model": self.detector, "embedder.model": self.embedder}
        return {name: part.model for name, part in parts.items() if part}

    @property
    def dim(self) -> int:
        """Size of an embedding."""
        part = self.network or self.embedder
        return part.dim if part else 0

    def config_hash(self) -> str:
        """Of the keys that decide an embedding: not of names, licenses, thresholds or tiles."""
        parts = {"detector": self.detector, "embedder": self.embedder, "network": self.network}
        keys = {name: asdict(part) if part else {} for name, part in parts.items()}
        keys["detector"].pop("tiles", None)
        for name, later in LATER_KEYS:
            part = parts[name]
            if part and getattr(part, later) == part.__dataclass_fields__[later].default:
                del keys[name][later]
        text = json.dumps([self.kind, {k: v or None for k, v in keys.items()}], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def text(self) -> str:
        """The file, as :func:`parse_spec` reads it."""
        content = without_defaults(self)
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
        spec = build(PackSpec, content)
        _check_parts(spec)
    except (ValueError, KeyProblem) as error:
        raise PackError(f"{name}: {error}") from error
    return spec


def _check_parts(spec: PackSpec) -> None:
    """What no single key can tell."""
    wanted = {"two-step": ("detector", "embedder"), "one-step": ("network",)}[spec.kind]
    for part in ("detector", "embedder", "network"):
        if (part in wanted) != (getattr(spec, part) is not None):
            verb = "needs" if part in wanted else "has no"
            raise KeyProblem(part, f"a {spec.kind} pack {verb} such a section")
    detector = spec.detector
    if detector and (detector.resize == "none") != (detector.size is None):
        has = "is missing" if detector.size is None else "goes with every detector.resize but none"
        raise KeyProblem("detector.size", has)
    for model, name in spec.models.items():
        if name not in spec.files:
            raise KeyProblem(model, f"{name} is not among the files")
