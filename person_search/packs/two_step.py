"""Two-step packs: a detector finds persons in a picture, an embedder looks at the crop of each.

Shape shorthand in this module:
    n: boxes of one picture; D: embedding size
"""

from collections.abc import Sequence

import numpy as np

from person_search.errors import PackError
from person_search.structures import Detections, GalleryModel, Searcher

from .decode import DECODERS, keep_best
from .pixels import cut_out, resize_whole, to_input, to_picture, unit
from .runtime import Network
from .spec import DetectorSpec, EmbedderSpec
from .tiles import is_whole, tiles_of

CROPS_AT_ONCE = 64
"""Crops of all persons of a batch of pictures go through the network together, so many at most."""

SMALLEST_SIDE = 2.0
"""A detection of less pixels in either direction shows nobody."""


class Detector:
    """A network that finds persons.

    Args:
        network: of one input, (batch, 3, height, width).
        spec: how to feed it, and what its outputs mean.

    Raises:
        PackError: the network and the spec do not fit.
    """

    def __init__(self, network: Network, spec: DetectorSpec):
        self.network, self.spec = network, spec
        check_input(network, spec.size, "detector.size")
        if network.labels is not None and spec.person_class not in network.labels:
            known = ", ".join(map(str, network.labels))
            raise PackError(
                f"{network.path} has the labels {known}: detector.person_class "
                f"{spec.person_class} is none of them"
            )
        # Those that resize by themselves make the smallest input of a long, low picture.
        self._look(np.full((*(spec.size or (32, 256)), 3), spec.fill, np.uint8))

    def detect(self, picture: np.ndarray, score_thresh: float) -> tuple[np.ndarray, np.ndarray]:
        """(n, 4) boxes and (n,) scores of a BGR picture, best score first."""
        boxes, scores = self._look(picture)
        if self.spec.tiles > 1:
            found = [(boxes, scores)]
            for tile in tiles_of(picture.shape[0], picture.shape[1], self.spec.tiles):
                x1, y1, x2, y2 = tile
                inside, of_tile = self._look(picture[y1:y2, x1:x2])
                inside = inside + np.array([x1, y1] * 2, np.float32)
                whole = is_whole(inside, tile, picture.shape)
                found.append((inside[whole], of_tile[whole]))
            boxes, scores = (np.concatenate(part) for part in zip(*found, strict=True))
        is_large = ((boxes[:, 2:] - boxes[:, :2]) >= SMALLEST_SIDE).all(axis=1)
        boxes, scores = boxes[is_large], scores[is_large]
        rows = keep_best(boxes, scores, score_thresh, self.spec.nms_iou)
        return boxes[rows], scores[rows]

    def _look(self, picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What the network sees, before NMS."""
        spec = self.spec
        canvas, scale = resize_whole(picture, spec.size, spec.resize, spec.fill)
        outputs = self.network(to_input([canvas], spec.color, spec.mean, spec.std))
        try:
            boxes, scores = DECODERS[spec.decode](outputs, canvas.shape[:2], spec.person_class)
        except (ValueError, IndexError) as error:
            raise PackError(
                f"{self.network.path} does not fit detector.decode {spec.decode}: it {error}"
            ) from error
        return to_picture(boxes, scale, picture.shape), scores.astype(np.float32)


class Embedder:
    """A network that embeds crops of persons.

    Args:
        network: of one input, (batch, 3, height, width), and one output, (batch, D).
        spec: how to feed it.

    Raises:
        PackError: the network and the spec do not fit.
    """

    def __init__(self, network: Network, spec: EmbedderSpec):
        self.network, self.spec = network, spec
        check_input(network, spec.size, "embedder.size")
        self._batch = network.input_shapes[0][0]
        self.embed([np.zeros((*spec.size, 3), np.uint8)])

    def embed(self, crops: Sequence[np.ndarray]) -> np.ndarray:
        """(n, D) unit embeddings of (height, width, 3) BGR crops, which have the network's size."""
        spec, step = self.spec, self._batch or CROPS_AT_ONCE
        rows = [np.zeros((0, spec.dim), np.float32)]
        for start in range(0, len(crops), step):
            some = list(crops[start : start + step])
            missing = step - len(some) if self._batch else 0
            batch = to_input(some + [some[-1]] * missing, spec.color, spec.mean, spec.std)
            (output,) = self.network(batch)[:1]
            output = output.reshape(len(output), -1)
            if output.shape != (len(batch), spec.dim):
                raise PackError(
                    f"{self.network.path} gives {output.shape} for {len(batch)} crops, but "
                    f"embedder.dim says {spec.dim}"
                )
            rows.append(output[: len(some)])
        return unit(np.concatenate(rows))


class TwoStepSearcher(Searcher):
    """Any detector and any crop embedder.

    Args:
        detector: finds persons.
        embedder: embeds them.
        model: what is to be remembered with the embeddings.
    """

    def __init__(self, detector: Detector, embedder: Embedder, model: GalleryModel):
        self.detector, self.embedder, self.model = detector, embedder, model

    def detect(self, pictures: Sequence[np.ndarray]) -> list[Detections]:
        """The persons of each picture whose score is at least ``model.score_thresh``."""
        found = [self.detector.detect(picture, self.model.score_thresh) for picture in pictures]
        pairs = zip(pictures, found, strict=True)
        embeds = self.embedder.embed([c for p, (boxes, _) in pairs for c in self._crops(p, boxes)])
        ends = np.cumsum([len(boxes) for boxes, _ in found])
        return [
            Detections(boxes.astype(np.float32), scores, embeds[end - len(boxes) : end])
            for (boxes, scores), end in zip(found, ends, strict=True)
        ]

    def embed(self, picture: np.ndarray, boxes: np.ndarray) -> np.ndarray:
        """Unit embeddings (n, D) of (n, 4) boxes of the picture."""
        boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
        return self.embedder.embed(self._crops(picture, boxes))

    def _crops(self, picture: np.ndarray, boxes: np.ndarray) -> list[np.ndarray]:
        spec = self.embedder.spec
        return [cut_out(picture, box, spec.size, spec.resize) for box in boxes]


def check_input(network: Network, size: tuple[int, int] | None, key: str) -> None:
    """Raises PackError where a network does not take a batch of (3, *size) pictures.

    Those without a size have to be free to have any.
    """
    shapes = network.input_shapes
    if size is None:
        if len(shapes) != 1 or shapes[0][1:] not in ((3, None, None), (None, None, None)):
            raise PackError(
                f'{network.path} does not take pictures of any size, as "none" of detector.resize '
                f"says: write {key}, and how pictures are resized"
            )
        return
    wanted = (None, 3, *size)
    fits = len(shapes) == 1 and len(shapes[0]) == 4
    fits = fits and all(w in (None, s) or s is None for s, w in zip(shapes[0], wanted, strict=True))
    if not fits:
        shown = " and ".join("x".join(str(s or "?") for s in shape) for shape in shapes)
        raise PackError(
            f"{network.path} takes {shown}, but {key} says {size[0]}x{size[1]} (height x width, "
            "after batch and 3 colors): write the size that the network takes"
        )
