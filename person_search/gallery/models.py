"""From what a user names, a pack or a config with weights, or from a gallery, to a searcher."""

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from person_search import packs
from person_search.errors import ConfigError, GalleryError, PackError, WeightsError
from person_search.packs.spec import parse_spec
from person_search.structures import GalleryModel, Searcher

from .engines import GalleryIndex
from .trust import named_weights, remember_weights

if TYPE_CHECKING:
    from .detectron2_searcher import Detectron2Searcher

DRAWN = r"\bstreet_\w+|drawn figures"
"""In what a model learned from: the data sets of drawn figures."""


def is_config(name: str) -> bool:
    """Whether a name of a model is the one of a config file, and not of a pack or its folder."""
    is_yaml = name.endswith((".yaml", ".yml")) and os.path.basename(name) != "pack.yaml"
    return is_yaml and not os.path.isdir(name)


def open_model(
    name: str,
    weights: str | None = None,
    *,
    opts: Sequence[str] = (),
    device: str | None = None,
    tiles: int | None = None,
) -> Searcher:
    """The model that a user names; it is remembered as named, see :mod:`.trust`.

    Args:
        name: a pack's name or folder, or a config file.
        weights: of a config: a checkpoint that was trained with it.
        opts: of a config: ``KEY VALUE`` pairs that override it.
        device: "cpu" or "cuda"; of a pack also another of ``packs.PROVIDERS``. None: a GPU for a
            config if there is one, the CPU for a pack.
        tiles: of a two-step pack, see :func:`packs.open_pack`.

    Raises:
        PersonSearchError: it is not there, or something is wrong with it.
    """
    if is_config(name):
        if tiles is not None:
            raise ConfigError("--tiles is for packs: set INPUT.MIN_SIZE_TEST of a config instead")
        if not weights:
            raise WeightsError(f"the config {name} needs --weights, too")
        searcher: Searcher = load_detectron2().from_config(name, weights, opts, device)
    else:
        for option, given in (("--weights", weights), ("--opts", opts)):
            if given:
                raise PackError(f"{option} belongs to a config file, and {name} is none")
        folder = str(Path(name).parent) if os.path.basename(name) == "pack.yaml" else name
        providers = [device] if device else []
        searcher = packs.open_pack(folder, providers=providers, tiles=tiles)
    remember_weights(searcher.model)
    return searcher


def open_gallery_model(
    gallery: GalleryIndex,
    weights: str | None = None,
    *,
    device: str | None = None,
    tiles: int | None = None,
) -> Searcher:
    """The model that a gallery was made with.

    A gallery may come from anybody: the path in it is never followed. What is opened is the file
    that the user named on this machine and that has the content which the gallery asks for.

    Args:
        gallery: whose model.
        weights: where the weights or the pack are; None: where the user named them before.
        device: as :func:`open_model` takes it.
        tiles: likewise.

    Raises:
        PersonSearchError: nobody named such weights here, they are gone, or they are others.
    """
    model = gallery.model
    path = weights or _named_path(gallery)
    if model.kind == "pack":
        spec = parse_spec(model.config, gallery.uri)
        if tiles is None and spec.detector:
            tiles = spec.detector.tiles
        searcher: Searcher = packs.open_pack(
            path,
            providers=[device] if device else [],
            tiles=tiles,
            score_thresh=model.score_thresh,
        )
        model.require_same(searcher.model, gallery.uri)
    else:
        if tiles is not None:
            raise GalleryError(f"--tiles is for packs, and {gallery.uri} was made with a config")
        searcher = load_detectron2().from_gallery(gallery, path, device)
    if weights:
        remember_weights(searcher.model)
    return searcher


def _named_path(gallery: GalleryIndex) -> str:
    model = gallery.model
    if model.kind == "pack" and model.weights in packs.ready():
        return model.weights  # a name, not a path: its files are known by their hashes
    path = named_weights(model)
    if path is None:
        raise WeightsError(
            f"the gallery {gallery.uri} says that it was made with {model.weights}, which nobody "
            "named on this machine, or which is gone: if you trust that file, say where it is now "
            "with --weights"
        )
    return path


def load_detectron2() -> "type[Detectron2Searcher]":
    """The kind of searcher that a config needs.

    Raises:
        ConfigError: torch or detectron2 is not installed.
    """
    try:
        from .detectron2_searcher import Detectron2Searcher
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"a model of a config needs torch and detectron2, and {error.name} is not installed: "
            "see GETTING_STARTED.md, or take a pack, which needs neither"
        ) from error
    return Detectron2Searcher


def drawn_note(model: GalleryModel) -> str:
    """One line about weights that learned from drawn figures; "" for others."""
    try:
        content = yaml.safe_load(model.config)
        is_pack = model.kind == "pack"
        learned_from = content["trained_on"] if is_pack else content["DATASETS"]["TRAIN"]
    except (yaml.YAMLError, KeyError, TypeError):
        return ""
    if not re.search(DRAWN, str(learned_from)):
        return ""
    return (
        "note: this model learned from drawn figures (Street), and finds few persons on "
        f"photographs: for pictures of your own take a ready model, --model {packs.RECOMMENDED}"
    )
