"""A page of what a search found: one HTML file that needs no other.

Boxes are xyxy in pixels of their picture; images are (H, W, 3) uint8 BGR.
"""

import html
import os
from datetime import datetime
from pathlib import Path
from string import Template

import numpy as np

from person_search.errors import ImageError

from ..persons import Hit
from ..search import SearchResult
from ..trust import Pictures
from .pictures import (
    PERSON_HEIGHT,
    SCENE_SIDE,
    ReadScene,
    crop,
    data_url,
    scene_details,
    scene_reader,
)


def asset(name: str) -> str:
    """The text of a file below ``gallery/`` that a page is made of, as "report/report.css"."""
    return (Path(__file__).parents[1] / name).read_text(encoding="utf-8")


def write_page(
    results: list[SearchResult], pictures: Pictures, gallery: str, note: str, path: str
) -> None:
    """Write one HTML file that needs no other: scenes with boxes, which a click enlarges.

    Args:
        results: what was looked for, and found.
        pictures: of the gallery, those that may be opened.
        gallery: its address.
        note: what was searched, in words.
        path: where to write.

    Raises:
        ImageError: the file cannot be written.
    """
    read = scene_reader(pictures)
    page = Template(asset("report/page.html")).substitute(
        style=asset("report/report.css"),
        script=asset("report/report.js"),
        gallery=html.escape(gallery),
        note=html.escape(note),
        made=datetime.now().astimezone().strftime("%Y-%m-%d %H:%M"),
        results="\n".join(_section(result, read) for result in results),
    )
    try:
        Path(path).write_text(page, encoding="utf-8", errors="replace")
    except OSError as error:
        raise ImageError(f"cannot write the page {path}: {error.strerror}") from error


def _section(result: SearchResult, read: ReadScene) -> str:
    queries = "".join(
        f'<figure class="query">{_scene(q.image, q.box, q.picture, "")}'
        f'<div class="person">{_person(q.image, q.box)}</div>'
        f"<figcaption>{_file_name(q.picture)}</figcaption></figure>"
        for q in result.query.images
    )
    decision = f"<p>{html.escape(result.decision)}</p>" if result.decision else ""
    return (
        f"<section><aside><h2>{html.escape(result.query.label)}</h2>{decision}{queries}</aside>"
        f"{hit_cards(result.hits, read)}</section>"
    )


def hit_cards(hits: list[Hit], read: ReadScene) -> str:
    """The hits as HTML, for a page with report.css and report.js."""
    cards = "".join(_card(rank, hit, read) for rank, hit in enumerate(hits, start=1))
    cards = cards or '<p class="nothing">Nobody in the gallery fits these conditions.</p>'
    return f'<div class="hits">{cards}</div>'


def _card(rank: int, hit: Hit, read: ReadScene) -> str:
    image, box = read(hit.picture, hit.seconds), np.array(hit.box)
    about = " · ".join([*scene_details(hit).values(), os.path.basename(hit.picture)])
    title = f"{rank}. similarity {hit.similarity:.3f} · {about}"
    if isinstance(image, str):
        scene, person = f'<div class="gone">{html.escape(image)}</div>', ""
    else:
        scene, person = _scene(image, box, hit.picture, title), _person(image, box)
    known = scene_details(hit) | {"score": f"{hit.score:.2f}"}
    rows = "".join(f"<dt>{n}</dt><dd>{html.escape(v)}</dd>" for n, v in known.items())
    share = max(0.0, min(1.0, hit.similarity))
    return (
        f'<figure class="hit">{scene}<div class="below"><div class="person">{person}</div>'
        f'<figcaption><p class="rank"><span>{rank}</span><b>{hit.similarity:.3f}</b></p>'
        f'<div class="bar"><i style="width:{100 * share:.1f}%"></i></div>'
        f"<dl>{rows}</dl>{_file_name(hit.picture)}</figcaption></div></figure>"
    )


def _file_name(picture: str) -> str:
    name = html.escape(os.path.basename(picture))
    return f'<p class="file" title="{html.escape(picture)}">{name}</p>'


def _scene(image: np.ndarray, box: np.ndarray, picture: str, title: str) -> str:
    """A scene with its box; the box is drawn by the page, sharp at any size."""
    height, width = image.shape[:2]
    x1, y1, x2, y2 = (f"{v:.1f}" for v in box)
    size = f'width="{float(x2) - float(x1):.1f}" height="{float(y2) - float(y1):.1f}"'
    name = html.escape(title or os.path.basename(picture))
    return (
        f'<button class="scene" aria-label="enlarge" data-title="{name}">'
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{name}">'
        f'<image href="{data_url(image, SCENE_SIDE)}" width="{width}" height="{height}"/>'
        f'<rect class="under" x="{x1}" y="{y1}" {size}/><rect x="{x1}" y="{y1}" {size}/>'
        "</svg></button>"
    )


def _person(image: np.ndarray, box: np.ndarray) -> str:
    return f'<img alt="the person" src="{data_url(crop(image, box), PERSON_HEIGHT)}">'
