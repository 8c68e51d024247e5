"""From a pack's name or folder to a searcher."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from person_search.errors import PackError
from person_search.structures import GalleryModel, Searcher

from .catalog import find_ready, ready
from .files import check_files
from .one_step import OneStepSearcher
from .runtime import open_network
from .spec import FILE_NAME, PackSpec, read_spec
from .two_step import Detector, Embedder, TwoStepSearcher


def open_pack(
    pack: str | os.PathLike,
    *,
    providers: Sequence[str] = (),
    threads: int | None = None,
    tiles: int | None = None,
    score_thresh: float | None = None,
) -> Searcher:
    """Open a pack: every file of it is there and as its hash says, and its networks run.

        searcher = open_pack("yolox-nano-osnet-x0.25")
        (persons,) = searcher.detect([picture])

    Args:
        pack: a folder with ``pack.yaml``, or the name of a ready pack that is on this machine.
        providers: where to run, see :func:`.runtime.open_network`.
        threads: of the CPU; None: as the runtime likes.
        tiles: look also into so many tiles along the longer side; None: as the pack says.
        score_thresh: persons with a lower score are not reported; None: as the pack says.

    Raises:
        PackError: no such pack, or something is wrong with it.
    """
    spec, folder = find_pack(pack)
    weights_hash = check_files(spec, folder)
    if score_thresh is not None:
        if not 0 <= score_thresh <= 1:
            raise PackError(f"a score threshold lies from 0 to 1, {score_thresh:g} does not")
        spec = replace(spec, score_thresh=score_thresh)
    if tiles is not None:
        spec = _with_tiles(spec, tiles)
    is_folder = (folder / FILE_NAME).is_file()
    model = GalleryModel(
        config=spec.text(),
        weights=str(folder.resolve()) if is_folder else spec.name,
        config_hash=spec.config_hash(),
        weights_hash=weights_hash,
        dim=spec.dim,
        score_thresh=spec.score_thresh,
        kind="pack",
    )
    first, second = (
        open_network(folder / name, tuple(providers), threads) for name in spec.models.values()
    )
    if spec.network:
        return OneStepSearcher(first, second, spec.network, model)
    if not (spec.detector and spec.embedder):
        raise PackError(f"{folder} is no pack: it has no networks")
    return TwoStepSearcher(Detector(first, spec.detector), Embedder(second, spec.embedder), model)


def find_pack(pack: str | os.PathLike) -> tuple[PackSpec, Path]:
    """What a pack's ``pack.yaml`` says, and the folder of its files.

    Raises:
        PackError: no such pack, or it is not on this machine.
    """
    name = os.fspath(pack)
    if (Path(name) / FILE_NAME).is_file():
        return read_spec(Path(name)), Path(name)
    if name in ready():
        found = find_ready(name)
        if found is None:
            raise PackError(f"the pack {name} is not here yet: person-search models get {name}")
        return found
    if Path(name).is_dir():
        raise PackError(f"{name} is no pack: it holds no {FILE_NAME}")
    raise PackError(
        f"no pack {name}: give a folder with a {FILE_NAME}, or one of {', '.join(ready())}"
    )


def _with_tiles(spec: PackSpec, tiles: int) -> PackSpec:
    if spec.detector is None:
        raise PackError("tiles are for two-step packs: a one-step pack looks at the whole picture")
    if not 1 <= tiles <= 32:
        raise PackError(f"tiles lie from 1 to 32 along the longer side, {tiles} does not")
    return replace(spec, detector=replace(spec.detector, tiles=tiles))
