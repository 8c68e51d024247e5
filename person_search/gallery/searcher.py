"""A ready or trained model that finds, embeds and looks up persons in any picture.

Shape shorthand in this module:
    n: boxes of one picture; D: embedding size
"""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from person_search.errors import ImageError
from person_search.images import read_image
from person_search.structures import Detections, GalleryModel, Searcher

from .calibration import Threshold
from .engines import GalleryIndex, open_gallery
from .models import open_gallery_model, open_model
from .persons import Hit
from .queries import Query, QueryImage, clip_boxes
from .search import SearchOptions, search


class PersonSearcher:
    """Three verbs on a model: detect, embed, search.

        searcher = PersonSearcher.from_pack("yolox-nano-osnet-x0.25")
        persons = searcher.detect("scene.jpg")
        hits = searcher.search("scene.jpg", persons.boxes[0], "my_gallery")

    A picture is a path, or a (H, W, 3) uint8 array in the order BGR, as OpenCV reads it. Every
    picture is resized as in evaluation, and boxes are in pixels of the picture that was given.

    Args:
        searcher: the model behind the two questions that everything here asks.
    """

    def __init__(self, searcher: Searcher):
        self.searcher = searcher

    @property
    def model(self) -> GalleryModel:
        """What is to be remembered with the embeddings."""
        return self.searcher.model

    @classmethod
    def from_pack(
        cls, pack: str, device: str | None = None, tiles: int | None = None
    ) -> "PersonSearcher":
        """A ready model, without torch.

        Args:
            pack: name of a ready pack, or a folder with a ``pack.yaml``.
            device: "cpu", or another of ``packs.PROVIDERS``; None: "cpu".
            tiles: look also into tiles of large pictures, this many along the longer side.
        """
        return cls(open_model(pack, device=device, tiles=tiles))

    @classmethod
    def from_config(
        cls,
        config_file: str,
        weights: str,
        opts: Sequence[str] = (),
        device: str | None = None,
    ) -> "PersonSearcher":
        """The detectron2 model of a config file.

        Args:
            config_file: one of ``configs/``, or your own.
            weights: a checkpoint that was trained with it.
            opts: ``KEY VALUE`` pairs that override the config.
            device: "cpu" or "cuda"; None takes a GPU if there is one.
        """
        return cls(open_model(config_file, weights, opts=opts, device=device))

    @classmethod
    def from_gallery(
        cls, gallery: str | GalleryIndex, weights: str | None = None, device: str | None = None
    ) -> "PersonSearcher":
        """The model that a gallery was made with.

        Args:
            gallery: one, or its address.
            weights: where the weights or the pack are; None: where you named them before on this
                machine. The path that the gallery itself remembers is never followed.
            device: as above.
        """
        index = open_gallery(gallery) if isinstance(gallery, str) else gallery
        return cls(open_gallery_model(index, weights, device=device))

    def detect(self, image: str | np.ndarray) -> Detections:
        """Every person of a picture whose score is at least ``model.score_thresh``."""
        return self.searcher.detect([_picture(image)])[0]

    def embed(self, image: str | np.ndarray, boxes: np.ndarray) -> np.ndarray:
        """Embeddings of given boxes.

        Args:
            image: a picture.
            boxes: (n, 4) xyxy, clipped to the picture.

        Returns:
            (n, D), unit length.

        Raises:
            QueryError: a box is empty or lies outside the picture.
        """
        picture = _picture(image)
        return self.searcher.embed(picture, clip_boxes(boxes, picture.shape[:2]))

    def search(
        self,
        image: str | np.ndarray,
        box: np.ndarray,
        gallery: str | GalleryIndex,
        threshold: Threshold | float | None = None,
        **options: Any,
    ) -> list[Hit]:
        """Look for the person in a box of a picture.

        Args:
            image: the query picture.
            box: (4,) xyxy.
            gallery: one, or its address.
            threshold: only hits of that similarity or more.
            options: the others of :class:`SearchOptions`, such as ``top_k`` and ``where``.

        Returns:
            The hits, best first.
        """
        index = open_gallery(gallery) if isinstance(gallery, str) else gallery
        index.model.require_same(self.model, index.uri)
        picture, name = _picture(image), "" if isinstance(image, np.ndarray) else os.fspath(image)
        (embed,) = self.searcher.embed(picture, clip_boxes(box, picture.shape[:2]))
        query = Query("query", [QueryImage(name, 0.0, picture, np.asarray(box))], embed)
        if isinstance(threshold, float | int):
            threshold = Threshold(threshold)
        (result,) = search(index, [query], SearchOptions(threshold=threshold, **options))
        return result.hits


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
