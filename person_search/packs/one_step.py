"""One-step packs: a person search network of this project, exported.

Shape shorthand in this module:
    n: boxes of one picture; D: embedding size
"""

from collections.abc import Sequence

import numpy as np

from person_search.errors import PackError
from person_search.structures import Detections, GalleryModel, Searcher

from .pixels import pad, resize_shortest, to_input, to_picture, unit
from .runtime import Network
from .spec import SearchNetworkSpec


class OneStepSearcher(Searcher):
    """A network that finds persons and embeds them from shared features.

    Args:
        detect: (3, h, w) picture, (2,) its height and width without padding -> (n, 4) boxes in
            its pixels, (n,) scores, (n, D) embeddings.
        embed: (3, h, w) picture, (n, 4) boxes in its pixels -> (n, D) embeddings.
        spec: how to feed them.
        model: what is to be remembered with the embeddings.

    Raises:
        PackError: the networks and the spec do not fit.
    """

    def __init__(
        self, detect: Network, embed: Network, spec: SearchNetworkSpec, model: GalleryModel
    ):
        self._detect, self._embed, self.spec, self.model = detect, embed, spec, model
        for network, number in ((detect, 2), (embed, 2)):
            if len(network.input_shapes) != number:
                raise PackError(
                    f"{network.path} takes {len(network.input_shapes)} inputs instead of {number}: "
                    "export the checkpoint again with this version"
                )
        self.embed(np.zeros((64, 64, 3), np.uint8), np.array([[8, 8, 40, 56]]))

    def detect(self, pictures: Sequence[np.ndarray]) -> list[Detections]:
        """The persons of each picture whose score is at least ``model.score_thresh``."""
        return [self._detect_one(picture) for picture in pictures]

    def _detect_one(self, picture: np.ndarray) -> Detections:
        inputs, size, scale = self._prepare(picture)
        boxes, scores, embeds = self._detect(inputs, size)[:3]
        boxes = to_picture(boxes, scale, picture.shape)
        is_seen = (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
        rows = np.flatnonzero(is_seen & (scores >= self.model.score_thresh))
        rows = rows[np.argsort(-scores[rows], kind="stable")]
        return Detections(boxes[rows], scores[rows].astype(np.float32), self._unit(embeds[rows]))

    def embed(self, picture: np.ndarray, boxes: np.ndarray) -> np.ndarray:
        """Unit embeddings (n, D) of (n, 4) boxes of the picture; no detector is run."""
        inputs, _, scale = self._prepare(picture)
        boxes = np.asarray(boxes, np.float32).reshape(-1, 4) * np.tile(scale, 2)
        return self._unit(self._embed(inputs, boxes.astype(np.float32))[0])

    def _prepare(self, picture: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(3, h, w); its height and width without padding; and the scale, in x and in y."""
        spec = self.spec
        picture, scale = resize_shortest(picture, spec.min_size, spec.max_size, spec.resize)
        inputs = to_input([picture], spec.color, spec.mean, spec.std)
        return pad(inputs, spec.divisible)[0], np.array(picture.shape[:2], np.float32), scale

    def _unit(self, embeds: np.ndarray) -> np.ndarray:
        if embeds.ndim != 2 or embeds.shape[1] != self.spec.dim:
            raise PackError(
                f"{self._embed.path.parent}: embeddings of shape {embeds.shape}, but network.dim "
                f"says {self.spec.dim}"
            )
        return unit(embeds)
