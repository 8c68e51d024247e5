"""What the page does: from a dropped picture to the person to look for, and to the hits.

Whatever comes from the browser is checked here: it may be anything. Boxes are xyxy in pixels of
their picture; images are (H, W, 3) uint8 BGR.
"""

import html
import io
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from person_search.errors import GalleryError, ImageError, QueryError, printable
from person_search.images import decode_image
from person_search.structures import Detections, Searcher

from ..calibration import Thresholds
from ..engines import Contents, GalleryIndex
from ..persons import Hit
from ..queries import Query, QueryImage, clip_boxes, from_the_left
from ..report.page import hit_cards
from ..report.pictures import SCENE_SIDE, data_url, scene_reader
from ..search import SearchOptions, SearchResult, search
from ..trust import Pictures

FORMATS = {"JPEG": "image/jpeg", "PNG": "image/png", "WEBP": "image/webp", "BMP": "image/bmp"}
"""What may be dropped: what browsers and cameras make. Decoders of rarer formats stay closed."""

MOST_HITS = 200

MOST_PIXELS = 2**26
"""Of a picture that is dropped: 67 megapixels, which take 200 MB while the model looks at them."""

LONGEST_NAME = 200

_NO_IMAGE = np.zeros((0, 0, 3), np.uint8)
"""A query of the page keeps no pixels."""


@dataclass(frozen=True, eq=False)
class Scene:
    """A picture that was dropped; between two requests it is kept as it was uploaded.

    Attributes:
        name: of its file.
        data: the file.
        size: (height, width) of the upright picture.
        shown: a small copy, as a URL that contains it.
        found: its persons, from the left.
    """

    name: str
    data: bytes
    size: tuple[int, int]
    shown: str
    found: Detections

    @property
    def image(self) -> np.ndarray:
        """The upright picture, decoded anew."""
        return _decode(self.data, self.name)


class SearchPage:
    """A model and the galleries that it can search.

    Args:
        searcher: finds and embeds persons.
        galleries: of the same model.
        pictures: of each gallery, those that may be opened.
        thresholds: decide whether somebody is in a gallery at all; None: nobody asks.

    Attributes:
        galleries: by their addresses.

    Raises:
        GalleryError: a gallery is of another model.
    """

    def __init__(
        self,
        searcher: Searcher,
        galleries: Sequence[GalleryIndex],
        pictures: Sequence[Pictures],
        thresholds: Thresholds | None = None,
    ):
        for gallery in galleries:
            gallery.model.require_same(searcher.model, gallery.uri)
        self.searcher, self.thresholds = searcher, thresholds
        self.galleries = {gallery.uri: gallery for gallery in galleries}
        self._contents: dict[str, tuple[int, Contents]] = {}
        self._read = {
            gallery.uri: scene_reader(of_gallery)
            for gallery, of_gallery in zip(galleries, pictures, strict=True)
        }

    def contents(self, uri: str) -> tuple[int, Contents]:
        """Number of persons, cameras and times of a gallery, which may be growing."""
        count = self._gallery(uri).count()
        if uri not in self._contents or self._contents[uri][0] != count:
            self._contents[uri] = count, self._gallery(uri).contents()
        return self._contents[uri]

    def _gallery(self, uri: str) -> GalleryIndex:
        if uri not in self.galleries:
            raise GalleryError(f"{uri} is none of the galleries of this page")
        return self.galleries[uri]

    def detect(self, data: bytes, name: str) -> Scene:
        """The persons of a picture.

        Args:
            data: of a file in one of :data:`FORMATS`.
            name: for people.

        Raises:
            ImageError: not such a file, damaged, or of too many pixels.
        """
        name = printable(name)[:LONGEST_NAME].replace("\n", " ")
        image = _decode(data, name)
        found = from_the_left(self.searcher.detect([image])[0])
        return Scene(name, data, image.shape[:2], data_url(image, SCENE_SIDE), found)

    def pick(self, scene: Scene, number: int) -> Query:
        """One of its persons, numbered from the left, from 1."""
        if not isinstance(number, int) or not 1 <= number <= len(scene.found):
            raise QueryError(f"{scene.name} shows no person {number}")
        box, embed = scene.found.boxes[number - 1], scene.found.embeds[number - 1]
        return Query(f"person {number}", [QueryImage(scene.name, 0.0, _NO_IMAGE, box)], embed)

    def draw(self, scene: Scene, box: Sequence[float]) -> Query:
        """The person in a box, (4,), that somebody drew; it is clipped to the picture."""
        try:
            boxes = np.array(box, np.float64).reshape(1, 4)
        except (TypeError, ValueError):
            raise QueryError("a box is four numbers: x1, y1, x2, y2") from None
        height, width = scene.size
        boxes = clip_boxes(boxes, (height, width))
        (embed,) = self.searcher.embed(scene.image, boxes)
        return Query("your box", [QueryImage(scene.name, 0.0, scene.image, boxes[0])], embed)

    def search(
        self, query: Query, uri: str, options: SearchOptions | None = None, decide: bool = True
    ) -> SearchResult:
        """Search a gallery.

        Args:
            query: who is looked for.
            uri: address of the gallery.
            options: how; at most :data:`MOST_HITS` hits are listed.
            decide: say whether the person is there, by the thresholds, if there are any.
        """
        gallery, options = self._gallery(uri), options or SearchOptions()
        threshold = None
        if decide and self.thresholds:
            threshold = self.thresholds(gallery, options.where)
        top_k = min(int(options.top_k), MOST_HITS)
        (result,) = search(gallery, [query], replace(options, top_k=top_k, threshold=threshold))
        return result

    def cards(self, uri: str, hits: list[Hit]) -> str:
        """Hits of a gallery as HTML, with those of their scenes that may be opened."""
        return hit_cards(hits, self._read[uri])


def _decode(data: bytes, name: str) -> np.ndarray:
    try:
        with Image.open(io.BytesIO(data), formats=list(FORMATS)):
            pass  # reads the header alone
    except Image.DecompressionBombError:
        most = 2 * (Image.MAX_IMAGE_PIXELS or 0) // 10**6
        raise ImageError(f"{name} has more than {most} megapixels: shrink it") from None
    except (OSError, ValueError, SyntaxError):
        raise ImageError(f"{name} is not a picture: drop a {', '.join(FORMATS)} file") from None
    return decode_image(np.frombuffer(data, np.uint8), name, max_pixels=MOST_PIXELS)


# ------------------------------------------------------------------------------------------- HTML

_CHOOSE = f'<input type="file" accept="{",".join(FORMATS.values())}">'
_MESSAGE = '<p class="message" role="alert"></p>'


def no_scene_html() -> str:
    """A place to drop a scene on."""
    return (
        f'<label class="drop">{_CHOOSE}<b>Drop a scene here</b>'
        f"<span>or paste one, or click to choose a file</span></label>{_MESSAGE}"
    )


def scene_html(scene: Scene, query: Query | None = None) -> str:
    """A scene with a numbered box for everybody, and the one that is looked for."""
    height, width = scene.size
    box = query.images[0].box if query else None
    people = list(enumerate(scene.found.boxes, start=1))
    picked = 0
    if box is not None:
        picked = next((number for number, b in people if np.array_equal(b, box)), 0)
    # The largest first: a click hits the smallest box that holds it.
    people.sort(key=lambda person: -float(np.prod(person[1][2:] - person[1][:2])))
    unit = max(width, height) / 100
    boxes = "".join(_person_html(number, b, unit, number == picked) for number, b in people)
    if box is not None and not picked:
        boxes += f'<g class="person picked">{_rectangles(box)}</g>'
    number = len(people)
    shows = f"{number} person{'s' * (number != 1)}" if number else "nobody was found"
    do = "Click a person, or drag a box around one." if number else "Drag a box around a person."
    return (
        f'<div class="above"><b title="{html.escape(scene.name)}">{html.escape(scene.name)}</b>'
        f"<span>{shows}</span><label>{_CHOOSE}Another picture</label></div>"
        f'<svg viewBox="0 0 {width} {height}" role="group" aria-label="the scene">'
        f'<image href="{scene.shown}" width="{width}" height="{height}"/>'
        f'{boxes}<rect class="drawn"/></svg><p class="hint">{do}</p>{_MESSAGE}'
    )


def _person_html(number: int, box: np.ndarray, unit: float, picked: bool) -> str:
    x, y = float(box[0]), float(box[1])
    w, h = unit * (1.4 + 1.3 * len(str(number))), unit * 3.4
    y = max(y - h, 0.0)
    return (
        f'<g class="person{" picked" * picked}" data-number="{number}" tabindex="0" role="button" '
        f'aria-label="person {number}">{_rectangles(box)}'
        f'<rect class="tag" x="{x:.1f}" y="{y:.1f}" width="{w:.1f}" height="{h:.1f}"/>'
        f'<text x="{x + w / 2:.1f}" y="{y + h * 0.76:.1f}" font-size="{unit * 2.6:.1f}">{number}'
        "</text></g>"
    )


def _rectangles(box: np.ndarray) -> str:
    x1, y1, x2, y2 = map(float, box)
    at = f'x="{x1:.1f}" y="{y1:.1f}" width="{x2 - x1:.1f}" height="{y2 - y1:.1f}"'
    return f'<rect class="under" {at}/><rect class="box" {at}/>'
