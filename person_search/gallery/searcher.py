"""A trained model that finds, embeds and looks up persons in any picture.

Shape shorthand in this module:
    n: boxes of one picture; D: embedding size
"""

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode, get_cfg
from detectron2.modeling import build_model
from torch import nn

from person_search.config import add_person_search_config, read_config
from person_search.data import build_mapper
from person_search.engine import PersonSearchCheckpointer
from person_search.errors import ConfigError, GalleryError, ImageError, QueryError, WeightsError
from person_search.images import read_image
from person_search.structures import Detections, GalleryModel

from .engines import GalleryIndex, open_gallery
from .persons import Filter, Hit
from .ranking import rank

_INPUT_KEYS = ("FORMAT", "MIN_SIZE_TEST", "MAX_SIZE_TEST", "MAPPER")

SMALLEST_SIDE = 2.0
"""A box has to have so many pixels of its picture in either direction."""


class PersonSearcher:
    """Three verbs on a trained model: detect, embed, search.

        searcher = PersonSearcher.from_config("configs/PRW/stl_mrfp.yaml", "model_final.pth")
        persons = searcher.detect("scene.jpg")
        hits = searcher.search("scene.jpg", persons.boxes[0], "my_gallery")

    A picture is a path, or a (H, W, 3) uint8 array in the order BGR, as OpenCV reads it. Every
    picture is resized as in evaluation, and boxes are in pixels of the picture that was given.

    Args:
        network: finds and embeds persons at test, as ``PersonSearchRCNN`` does.
        mapper: makes its inputs, as ``PersonSearchMapper`` does.
        made_by: what is to be remembered with its embeddings.
    """

    def __init__(self, network: nn.Module, mapper, made_by: GalleryModel):
        self.network, self.mapper, self.made_by = network.eval(), mapper, made_by

    @classmethod
    def from_config(
        cls,
        config_file: str,
        weights: str,
        opts: Sequence[str] = (),
        device: str | None = None,
    ) -> "PersonSearcher":
        """The model of a config file.

        Args:
            config_file: one of ``configs/``, or your own.
            weights: a checkpoint that was trained with it.
            opts: ``KEY VALUE`` pairs that override the config.
            device: "cpu" or "cuda"; None takes a GPU if there is one.
        """
        cfg = read_config(config_file, opts)
        return cls._from_cfg(cfg, weights, device)

    @classmethod
    def from_gallery(
        cls, gallery: GalleryIndex, weights: str | None = None, device: str | None = None
    ) -> "PersonSearcher":
        """The model that a gallery was made with; ``weights``: where they are now, if moved."""
        made_by = gallery.model
        try:
            cfg = get_cfg()
            add_person_search_config(cfg)
            cfg.merge_from_other_cfg(CfgNode.load_cfg(made_by.config))
        except Exception as error:  # yacs raises all kinds
            raise ConfigError(
                f"the gallery {gallery.uri} was made by another version of this project "
                f"({str(error).splitlines()[0]}): index into a new one with this version"
            ) from error
        path = weights or made_by.weights
        if not os.path.isfile(path):
            raise WeightsError(
                f"the gallery {gallery.uri} was made with {path}, which is not there: say with "
                "--weights where it is now"
            )
        if _hash_file(path) != made_by.weights_hash:
            raise GalleryError(f"the gallery {gallery.uri} was made with other weights than {path}")
        network, mapper = _build(cfg, path, device)
        return cls(network, mapper, made_by)

    @classmethod
    def _from_cfg(cls, cfg: CfgNode, weights: str, device: str | None) -> "PersonSearcher":
        if not os.path.isfile(weights):
            raise WeightsError(f"no weights file {weights}: give a checkpoint of a trained model")
        network, mapper = _build(cfg, weights, device)
        cfg.MODEL.WEIGHTS = os.path.abspath(weights)
        made_by = GalleryModel(
            config=cfg.dump(),
            weights=cfg.MODEL.WEIGHTS,
            config_hash=_hash_config(cfg),
            weights_hash=_hash_file(weights),
            dim=_embedding_size(network, mapper),
            score_thresh=cfg.TEST.SEARCH.SCORE_THRESH,
        )
        return cls(network, mapper, made_by)

    def prepare(self, image: np.ndarray, boxes: np.ndarray | None = None) -> dict:
        """The input of the network: a (H, W, 3) uint8 BGR picture, and boxes to embed."""
        record = {"height": image.shape[0], "width": image.shape[1]}
        if boxes is not None:
            record["query_boxes"] = boxes
        if self.mapper.image_format == "RGB":
            image = image[:, :, ::-1]
        return self.mapper.map_image(image, record)

    @torch.no_grad()
    def detect_batch(self, inputs: list[dict]) -> list[Detections]:
        """The persons of several pictures, given as :meth:`prepare` makes them."""
        found = []
        for output in self.network(inputs):
            persons = output["instances"].to("cpu")
            persons = persons[persons.scores >= self.made_by.score_thresh]
            found.append(
                Detections(
                    boxes=persons.pred_boxes.tensor.float().numpy(),
                    scores=persons.scores.float().numpy(),
                    embeds=persons.pred_embeds.float().numpy(),
                )
            )
        return found

    def detect(self, image: str | np.ndarray) -> Detections:
        """Every person of a picture whose score is at least ``TEST.SEARCH.SCORE_THRESH``."""
        return self.detect_batch([self.prepare(_picture(image))])[0]

    @torch.no_grad()
    def embed(self, image: str | np.ndarray, boxes: np.ndarray) -> np.ndarray:
        """Embeddings of given boxes.

        Args:
            image: a picture.
            boxes: (n, 4) xyxy, clipped to the picture.

        Returns:
            (n, D), unit length.

        Raises:
            QueryError: a box is none, or lies outside the picture.
        """
        image = _picture(image)
        boxes = clip_boxes(boxes, image.shape[:2])
        output = self.network([self.prepare(image, boxes)])[0]
        return output["query_embeds"].float().cpu().numpy()

    def search(
        self,
        image: str | np.ndarray,
        box: np.ndarray,
        gallery: str | GalleryIndex,
        top_k: int = 20,
        where: Filter | None = None,
        best_per_frame: bool = True,
        threshold: float | None = None,
        rerank: bool = False,
    ) -> list[Hit]:
        """Look for the person in a box of a picture.

        Args:
            image: the query picture.
            box: (4,) xyxy.
            gallery: one, or its address.
            top_k: how many hits at most.
            where: only such rows.
            best_per_frame: the best hit of each frame alone.
            threshold: only hits of that similarity or more.
            rerank: order by k-reciprocal re-ranking.
        """
        gallery = open_gallery(gallery) if isinstance(gallery, str) else gallery
        gallery.model.require_same(self.made_by, gallery.uri)
        embeds = self.embed(image, [box])
        (hits,) = rank(
            gallery, embeds, top_k, where, best_per_frame, threshold=threshold, rerank=rerank
        )
        return hits


def clip_boxes(boxes: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(n, 4) xyxy boxes without what is outside a picture of ``size`` (height, width)."""
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    height, width = size
    clipped = np.minimum(np.maximum(boxes, 0), (width, height, width, height))
    # Written so that NaN fails.
    sound = ((clipped[:, 2:] - clipped[:, :2]) >= SMALLEST_SIDE).all(axis=1)
    if not sound.all():
        x1, y1, x2, y2 = boxes[np.argmin(sound)]
        raise QueryError(
            f"the box from ({x1:g}, {y1:g}) to ({x2:g}, {y2:g}) shows nothing of the picture, "
            f"which is {width}x{height}: give a box inside it"
        )
    return clipped


def _picture(image: str | np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 BGR."""
    if not isinstance(image, np.ndarray):
        return read_image(os.fspath(image))
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
        raise ImageError(
            f"a picture is a (height, width, 3) uint8 array in the order BGR, not {image.shape} "
            f"{image.dtype}"
        )
    return image


def _build(cfg: CfgNode, weights: str, device: str | None) -> tuple[nn.Module, object]:
    """The network with its weights, and the mapper; settles the config's last values."""
    cfg.MODEL.DEVICE = device or ("cuda" if torch.cuda.is_available() else "cpu")
    # The classifier over training identities plays no part, and the training data may be far away.
    cfg.MODEL.REID.NUM_IDS = 1
    network = build_model(cfg)
    if not hasattr(network, "roi_heads"):
        raise ConfigError(f"{cfg.MODEL.META_ARCHITECTURE} finds no persons: give a search config")
    PersonSearchCheckpointer(network, complete=True).load(weights)
    return network, build_mapper(cfg, is_train=False)


@torch.no_grad()
def _embedding_size(network: nn.Module, mapper) -> int:
    blank = np.zeros((64, 64, 3), np.uint8)
    record = {"height": 64, "width": 64, "query_boxes": [[8, 8, 40, 56]]}
    return network.eval()([mapper.map_image(blank, record)])[0]["query_embeds"].shape[1]


def _hash_config(cfg: CfgNode) -> str:
    """Of the keys that decide what a network does with a picture, where they are not the defaults.

    So a key that a later version adds does not make another model of an old one.
    """
    default = get_cfg()
    add_person_search_config(default)
    changes = dict(_changes(cfg.MODEL, default.MODEL))
    changes |= {f"INPUT.{key}": cfg.INPUT[key] for key in _INPUT_KEYS}
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
