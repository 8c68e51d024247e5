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
from .runtime import Network, open_network
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
    folder, given = Path(folder), _parse(settings)
    content = {"format": FORMAT, "name": folder.resolve().name, "kind": "two-step", **_ABOUT}
    content |= {"files": {}, **given[""]}
    sources = []
    for part, path in (("detector", Path(detector)), ("embedder", Path(embedder))):
        files = [path] + ([weights_of(path)] if path.suffix == ".xml" else [])
        try:
            for file in files:
                entry = {"sha256": file_hash(file), "size": file.stat().st_size}
                content["files"][file.name] = entry
        except OSError as error:
            raise PackError(f"{part}: {file}: {error.strerror or error}") from error
        check_is_network(path, part)
        known = _known(part, content["files"][path.name]["sha256"]) or _recognize(part, path)
        content[part] = {"model": path.name, **known, **given[part]}
        missing = [f"{part}.{key}" for key in _NEEDED[part] if key not in content[part]]
        if missing:
            raise PackError(
                f"the shapes of {path} do not tell {', '.join(missing)}: say them in the settings "
                "as KEY=VALUE (docs/packs.md has those of known networks)"
            )
        sources += files
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


def _parse(settings: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Part ("" is the pack itself) -> key -> value."""
    given = {"": {}, "detector": {}, "embedder": {}}
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
    if len(shape) != 4 or shape[1] not in (3, None) or None in shape[2:]:
        return {}
    size = list(shape[2:])
    if part == "embedder":
        sizes = network.output_shapes[0][1:] if len(network.output_shapes) == 1 else (None,)
        return {"size": size} if None in sizes else {"size": size, "dim": int(np.prod(sizes))}
    if _is_yolox(network, tuple(size)):
        classes = network.output_shapes[0][2] - 5
        found = {"size": size, "decode": "yolox", "resize": "letterbox", "color": "BGR"}
        return found | ({"person_class": 0} if classes in (1, 80) else {})  # 80: those of COCO
    if len(network.output_shapes) == 1 and network.output_shapes[0][-1:] == (7,):
        return {"size": size, "decode": "ssd", "resize": "stretch"}
    return {"size": size}


def _is_yolox(network: Network, size: tuple[int, int]) -> bool:
    """Whether a detector gives rows of YOLOX's grids that are not decoded yet."""
    shapes = network.output_shapes
    if len(shapes) != 1 or len(shapes[0]) != 3 or shapes[0][2] is None or shapes[0][2] < 6:
        return False
    if shapes[0][1] != yolox_places(size):
        return False
    (rows,) = network(np.full((1, 3, *size), 114, np.float32))
    return bool(np.abs(rows[0, :, :2]).max() < _DECODED)
