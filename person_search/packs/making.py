"""Making a pack of local files."""

import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from person_search.errors import PackError
from person_search.files import atomic_write

from .catalog import ready
from .decode import yolox_places
from .files import check_is_network, file_hash, weights_of
from .opening import open_pack
from .runtime import Network, Shape, open_network
from .spec import FILE_NAME, FORMAT, parse_spec

_ABOUT = {
    "license": "unknown: ask where the files come from",
    "trained_on": "unknown",
    "score_thresh": 0.5,
}
_NEEDED = {
    "detector": ("size", "decode", "person_class", "resize", "color"),
    "embedder": ("size", "dim", "color", "mean", "std"),
}
"""What decides a result and has to be known, even where ``pack.yaml`` has a default."""

_DECODED = 64
"""YOLOX's raw centers are offsets of a few cells; decoded ones reach the size of the input."""


def make(
    folder: str | os.PathLike,
    detector: str | os.PathLike,
    embedder: str | os.PathLike,
    settings: Sequence[str] = (),
) -> str:
    """Make a two-step pack of a detector's and an embedder's file.

    Settings of files that the list of ready packs knows by their hashes are taken from there, and
    what the shapes of inputs and outputs tell for certain is read from the files. All else has to
    be said.

    Args:
        folder: of the pack; made if needed.
        detector: ``.onnx``, or ``.xml`` with its ``.bin`` beside it.
        embedder: likewise.
        settings: "KEY=VALUE" with keys of ``pack.yaml``, as "embedder.color=RGB" and
            "embedder.mean=[123.675, 116.28, 103.53]".

    Returns:
        what :func:`.opening.open_pack` takes; it was opened once.

    Raises:
        PackError: a file is no network, a setting is wrong, or one is missing (the message names
            it).
    """
    folder, given = Path(folder), read_settings(settings)
    about = {"format": FORMAT, "name": folder.resolve().name, "kind": "two-step", **_ABOUT}
    parts: dict[str, dict[str, Any]] = {}
    entries: dict[str, dict[str, Any]] = {}
    sources = []
    for part, path in (("detector", Path(detector)), ("embedder", Path(embedder))):
        files = [path] + ([weights_of(path)] if path.suffix == ".xml" else [])
        try:
            for file in files:
                entries[file.name] = {"sha256": file_hash(file), "size": file.stat().st_size}
        except OSError as error:
            raise PackError(f"{part}: {file}: {error.strerror or error}") from error
        check_is_network(path, part)
        known = _known(part, entries[path.name]["sha256"]) or _recognize(part, path)
        parts[part] = {"model": path.name, **known, **given[part]}
        needed = [k for k in _NEEDED[part] if k != "size" or parts[part].get("resize") != "none"]
        missing = [f"{part}.{key}" for key in needed if key not in parts[part]]
        if missing:
            raise PackError(
                f"the shapes of {path} do not tell {', '.join(missing)}: say them in the settings "
                "as KEY=VALUE (docs/packs.md has those of known networks)"
            )
        sources += files
    content = {**about, "files": entries, **given[""], **parts}
    spec = parse_spec(yaml.safe_dump(content), "the settings")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for source in sources:
            if not (folder / source.name).exists() or not source.samefile(folder / source.name):
                with atomic_write(folder / source.name) as temporary:
                    shutil.copyfile(source, temporary)
        spec.write(folder)
    except OSError as error:
        raise PackError(f"{folder} cannot be written: {error.strerror or error}") from error
    try:
        open_pack(folder)
    except PackError:
        (folder / FILE_NAME).unlink()  # it is none
        raise
    return str(folder)


def is_network(path: str | os.PathLike) -> bool:
    """Whether the name of a file is one of those that packs run, ONNX or OpenVINO."""
    return Path(path).suffix in (".onnx", ".xml")


def read_settings(settings: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Part ("" is the pack itself) -> key -> value; of a key that is said twice the last.

    Raises:
        PackError: a text is no "KEY=VALUE".
    """
    given: dict[str, dict[str, Any]] = {"": {}, "detector": {}, "embedder": {}}
    for text in settings:
        name, is_there, value = text.partition("=")
        part, _, key = name.strip().rpartition(".")
        if not is_there or part not in given:
            raise PackError(f"{text!r} is no setting: write KEY=VALUE, as detector.person_class=0")
        try:
            given[part][key] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise PackError(f"{text!r}: the value is no YAML") from None
    return given


def _known(part: str, sha256: str) -> dict[str, Any]:
    """What the list of ready packs says of a file; nothing if it does not know it."""
    for spec in ready().values():
        known = getattr(spec, part)
        if known and sha256 in spec.files[known.model].sha256:
            return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(known).items()}
    return {}


def _recognize(part: str, path: Path) -> dict[str, Any]:
    """What the shapes of a network tell for certain."""
    network = open_network(path)
    shape = network.input_shapes[0] if len(network.input_shapes) == 1 else ()
    if len(shape) != 4 or shape[1] not in (3, None) or shape[2] is None or shape[3] is None:
        return {}
    size = (shape[2], shape[3])
    found: dict[str, Any] = {"size": list(size)}
    output: Shape = network.output_shapes[0] if len(network.output_shapes) == 1 else (None,)
    if part == "embedder":
        sizes = [length for length in output[1:] if length is not None]
        is_fixed = len(sizes) == len(output) - 1 > 0
        return found | ({"dim": int(np.prod(sizes))} if is_fixed else {})
    if classes := _yolox_classes(network, output, size):
        found |= {"decode": "yolox", "resize": "letterbox", "color": "BGR"}
        return found | ({"person_class": 0} if classes in (1, 80) else {})  # 80: those of COCO
    if output[-1:] == (7,):
        return found | {"decode": "ssd", "resize": "stretch"}
    return found


def _yolox_classes(network: Network, output: Shape, size: tuple[int, int]) -> int:
    """Number of classes of a detector that gives rows of YOLOX's grids, not decoded; else 0."""
    if len(output) != 3 or output[2] is None or output[1] != yolox_places(size):
        return 0
    (rows,) = network(np.full((1, 3, *size), 114, np.float32))
    is_decoded = np.abs(rows[0, :, :2]).max() >= _DECODED
    return 0 if is_decoded else max(output[2] - 5, 0)
