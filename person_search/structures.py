"""What crosses rooms: the two questions that every model answers, and what they are asked with.

Shape shorthand in this module:
    n: persons of one picture; D: embedding size
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .errors import GalleryError

GIVEN_BOXES = {"query_boxes": "query_embeds", "gt_boxes": "gt_embeds"}
"""Input key with boxes that a model is asked to embed -> output key of their embeddings."""

KINDS = ("scene", "crop")
"""Kinds of images: frames with any number of persons, and pictures of one person each."""


@dataclass(frozen=True, eq=False)
class Detections:
    """The persons of one picture, best score first.

    Attributes:
        boxes: (n, 4) float32 xyxy, pixels of the picture.
        scores: (n,) float32.
        embeds: (n, D) float32, unit length.
    """

    boxes: np.ndarray
    scores: np.ndarray
    embeds: np.ndarray

    def __len__(self) -> int:
        return len(self.scores)


@dataclass(frozen=True)
class GalleryModel:
    """What made the embeddings of a gallery: only embeddings of the same model can be compared.

    Attributes:
        config: the whole config as YAML, so that a search needs no config file; of a pack, its
            ``pack.yaml``.
        weights: path of the weights, or of the pack.
        config_hash, weights_hash: of what decides an embedding; paths play no part.
        dim: size of an embedding.
        score_thresh: detections with a lower score are not in the gallery.
        kind: "detectron2" or "pack".
    """

    config: str
    weights: str
    config_hash: str
    weights_hash: str
    dim: int
    score_thresh: float
    kind: str = "detectron2"

    def require_same(self, other: "GalleryModel", uri: str) -> None:
        """Raises GalleryError where ``other`` is not the model of the gallery ``uri``, this one."""
        names = {
            "kind": "kind",
            "weights_hash": "weights",
            "dim": "embedding size",
            "config_hash": "config",
            "score_thresh": "score threshold",
        }
        for field, name in names.items():
            ours, theirs = getattr(self, field), getattr(other, field)
            if ours != theirs:
                raise GalleryError(
                    f"the gallery {uri} was made with another model ({name}: {ours}, yours: "
                    f"{theirs}): use its own, {self.weights}, or index into a new gallery"
                )


class Searcher(ABC):
    """The two questions: where are persons in this picture, and who is in this box?

    Evaluation, gallery, page and benchmark ask a model only these, whatever it is made of.
    Pictures are (H, W, 3) uint8 arrays in the order BGR, boxes xyxy in their pixels.

    Attributes:
        model: what is to be remembered with the embeddings.
    """

    model: GalleryModel

    @abstractmethod
    def detect(self, pictures: Sequence[np.ndarray]) -> list[Detections]:
        """The persons of each picture whose score is at least ``model.score_thresh``."""

    @abstractmethod
    def embed(self, picture: np.ndarray, boxes: np.ndarray) -> np.ndarray:
        """Unit embeddings (n, D) of (n, 4) boxes inside the picture; no detector is run."""
