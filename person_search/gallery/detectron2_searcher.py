"""The detectron2 model as a searcher: one of the two kinds of models that a gallery can ask.

Shape shorthand in this module:
    n: boxes of one picture; D: embedding size
"""

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode, get_cfg
from detectron2.modeling import build_model

from person_search.config import add_person_search_config, drop_retired, read_config
from person_search.data import build_mapper
from person_search.engine import PersonSearchCheckpointer, adopt_conventions
from person_search.errors import ConfigError, GalleryError, WeightsError
from person_search.modeling.meta_arch.base import SearchModel
from person_search.structures import Detections, GalleryModel, Searcher

from .engines import GalleryIndex

_INPUT_KEYS = ("FORMAT", "MIN_SIZE_TEST", "MAX_SIZE_TEST", "MAPPER")


class Detectron2Searcher(Searcher):
    """A search model of detectron2's registries, with its weights.

    Args:
        network: the model.
        mapper: makes its inputs, as ``PersonSearchMapper`` does.
        model: what is to be remembered with its embeddings.
    """

    def __init__(self, network: SearchModel, mapper, model: GalleryModel):
        self.network, self.mapper, self.model = network.eval(), mapper, model

    @classmethod
    def from_config(
        cls,
        config_file: str,
        weights: str,
        opts: Sequence[str] = (),
        device: str | None = None,
    ) -> "Detectron2Searcher":
        """The model of a config file.

        Args:
            config_file: one of ``configs/``, or your own.
            weights: a checkpoint that was trained with it.
            opts: ``KEY VALUE`` pairs that override the config.
            device: "cpu" or "cuda"; None takes a GPU if there is one.
        """
        _require_file(weights)
        cfg = read_config(config_file, opts)
        adopt_conventions(cfg, weights, explicit=opts[::2])
        network, mapper = _build(cfg, weights, device)
        cfg.MODEL.WEIGHTS = os.path.abspath(weights)
        model = GalleryModel(
            config=cfg.dump(),
            weights=cfg.MODEL.WEIGHTS,
            config_hash=_hash_config(cfg),
            weights_hash=_hash_file(weights),
            dim=network.embedding_dim,
            score_thresh=cfg.TEST.SEARCH.SCORE_THRESH,
        )
        return cls(network, mapper, model)

    @classmethod
    def from_gallery(
        cls, gallery: GalleryIndex, weights: str, device: str | None = None
    ) -> "Detectron2Searcher":
        """The model that a gallery was made with.

        Args:
            gallery: remembers the config, of which only known keys with plain values are taken.
            weights: a file that the user trusts; it has to be the one that made the gallery.
            device: "cpu" or "cuda"; None takes a GPU if there is one.

        Raises:
            GalleryError: the weights are others.
        """
        model = gallery.model
        try:
            cfg = get_cfg()
            add_person_search_config(cfg)
            cfg.merge_from_other_cfg(drop_retired(CfgNode.load_cfg(model.config)))
        except Exception as error:  # yacs raises all kinds
            raise ConfigError(
                f"the gallery {gallery.uri} was made by another version of this project "
                f"({str(error).splitlines()[0]}): index into a new one with this version"
            ) from error
        _require_file(weights)
        if _hash_file(weights) != model.weights_hash:
            raise GalleryError(
                f"the gallery {gallery.uri} was made with other weights than {weights}"
            )
        network, mapper = _build(cfg, weights, device)
        return cls(network, mapper, replace(model, weights=os.path.abspath(weights)))

    @torch.no_grad()
    def detect(self, pictures: Sequence[np.ndarray]) -> list[Detections]:
        """See :class:`Searcher`."""
        inputs = [self._input(picture) for picture in pictures]
        sizes = [tuple(x["image"].shape) for x in inputs]
        found: dict[int, Detections] = {}
        # Pictures of one size go through the network together: padding would change embeddings.
        for size in dict.fromkeys(sizes):
            rows = [row for row, other in enumerate(sizes) if other == size]
            outputs = self.network([inputs[row] for row in rows])
            found |= zip(rows, map(self._detections, outputs), strict=True)
        return [found[row] for row in range(len(inputs))]

    @torch.no_grad()
    def embed(self, picture: np.ndarray, boxes: np.ndarray) -> np.ndarray:
        """See :class:`Searcher`."""
        (embeds,) = self.network.embed_boxes([self._input(picture, boxes)])
        return embeds.float().cpu().numpy()

    def _input(self, picture: np.ndarray, boxes: np.ndarray | None = None) -> dict:
        record: dict[str, Any] = {"height": picture.shape[0], "width": picture.shape[1]}
        if boxes is not None:
            record["query_boxes"] = boxes
        if self.mapper.image_format == "RGB":
            picture = picture[:, :, ::-1]
        return self.mapper.map_image(picture, record)

    def _detections(self, output: dict) -> Detections:
        persons = output["instances"].to("cpu")
        persons = persons[persons.scores >= self.model.score_thresh]
        return Detections(
            boxes=persons.pred_boxes.tensor.float().numpy(),
            scores=persons.scores.float().numpy(),
            embeds=persons.pred_embeds.float().numpy(),
        )


def _require_file(weights: str) -> None:
    if not os.path.isfile(weights):
        raise WeightsError(f"no weights file {weights}: give a checkpoint of a trained model")


def _build(cfg: CfgNode, weights: str, device: str | None) -> tuple[SearchModel, object]:
    """The network with its weights, and the mapper; settles the config's last values."""
    cfg.MODEL.DEVICE = device or ("cuda" if torch.cuda.is_available() else "cpu")
    # The classifier over training identities plays no part, and the training data may be far away.
    cfg.MODEL.REID.NUM_IDS = 1
    network = build_model(cfg)
    if not isinstance(network, SearchModel):
        raise ConfigError(f"{cfg.MODEL.META_ARCHITECTURE} finds no persons: give a search config")
    PersonSearchCheckpointer(network, complete=True).load(weights)
    return network, build_mapper(cfg, is_train=False)


def _hash_config(cfg: CfgNode) -> str:
    """Of the keys that decide what a network does with a picture, where they are not the defaults.

    So a key that a later version adds does not make another model of an old one.
    """
    default = get_cfg()
    add_person_search_config(default)
    changes = dict(_changes(cfg.MODEL, default.MODEL))
    changes |= {f"INPUT.{key}": cfg.INPUT[key] for key in _INPUT_KEYS}
    if cfg.INPUT.RESIZE != default.INPUT.RESIZE:
        changes["INPUT.RESIZE"] = cfg.INPUT.RESIZE
    for key in ("WEIGHTS", "DEVICE"):
        changes.pop(key, None)
    text = json.dumps(changes, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _changes(node: CfgNode, default: CfgNode, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Keys, as "ROI_HEADS.NAME", and values that differ from those of ``default``."""
    for key, value in node.items():
        usual = default.get(key)
        if isinstance(value, CfgNode) and isinstance(usual, CfgNode):
            yield from _changes(value, usual, f"{prefix}{key}.")
        elif value != usual:
            yield f"{prefix}{key}", value


def _hash_file(path: str) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()[:16]
