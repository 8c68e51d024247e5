"""What a search found, for people to look at: a contact sheet, and a page in one HTML file.

Boxes are xyxy in pixels of their picture; images are (H, W, 3) uint8 BGR.
"""

import base64
import html
import os
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import lru_cache
from pathlib import Path
from string import Template

import cv2
import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from person_search.errors import ImageError

from .findings import Finding
from .persons import Hit
from .sources import read_scene

SCENE_SIDE, PERSON_HEIGHT = 1120, 320
"""Pixels of the pictures in a page, at most: longer side of a scene, height of a person."""

ReadScene = Callable[[str, float], np.ndarray | None]


def facts(hit: Hit) -> dict[str, str]:
    """What is known about the scene of a hit: camera, time, and the place in a video."""
    known = {
        "camera": hit.camera,
        "time": hit.time.strftime("%Y-%m-%d %H:%M:%S") if hit.time else "",
        "at": str(timedelta(seconds=int(hit.seconds))) if hit.frame else "",
    }
    return {name: value for name, value in known.items() if value}


def _scene_reader() -> ReadScene:
    """Reads scenes, remembers the last ones; None for a picture that is no longer there."""

    @lru_cache(maxsize=8)  # a scene may be of 200 megapixels
    def read(picture: str, seconds: float) -> np.ndarray | None:
        try:
            return read_scene(picture, seconds)
        except ImageError:
            return None

    return read


def crop(image: np.ndarray, box: np.ndarray) -> np.ndarray:
    """The person in a box."""
    x1, y1 = np.floor(np.maximum(box[:2], 0)).astype(int)
    x2, y2 = np.ceil(box[2:]).astype(int)
    return image[y1 : max(y2, y1 + 1), x1 : max(x2, x1 + 1)]


# ------------------------------------------------------------------------------------------ sheet

SCENE, PERSON, TEXT, GAP = (256, 176), (88, 176), 46, 14
PAPER, CARD, INK, FAINT = (243, 244, 246), (255, 255, 255), (31, 41, 55), (120, 128, 140)
QUERY, FOUND = (37, 99, 235), (5, 150, 105)
COLUMNS = 5


@lru_cache
def _font(size: int, weight: str = "") -> ImageFont.FreeTypeFont:
    name = f"DejaVuSans{weight}.ttf"  # knows most of the world's letters, and is always there
    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name, size)


def write_sheet(findings: list[Finding], path: str) -> None:
    """Write a picture: for each person a row of queries and the hits, best first."""
    read, blocks = _scene_reader(), []
    for finding in findings:
        cells = [
            _cell(q.image, q.box, QUERY, finding.wanted.label, os.path.basename(q.picture))
            for q in finding.wanted.shown
        ]
        for rank, hit in enumerate(finding.hits, start=1):
            about = "  ".join(facts(hit).values())
            cells.append(
                _cell(
                    read(hit.picture, hit.seconds),
                    np.array(hit.box),
                    FOUND,
                    f"{rank}.  {hit.similarity:.3f}",
                    about or os.path.basename(hit.picture),
                )
            )
        blocks.append(_grid(cells))
    width = max(block.width for block in blocks)
    sheet = Image.new("RGB", (width, sum(block.height for block in blocks)), PAPER)
    top = 0
    for block in blocks:
        sheet.paste(block, (0, top))
        top += block.height
    try:
        sheet.save(path)
    except (OSError, ValueError) as error:
        raise ImageError(f"cannot write the sheet {path}: {error}") from error


def _grid(cells: list[Image.Image]) -> Image.Image:
    width, height = cells[0].size
    columns = min(COLUMNS, len(cells))
    rows = -(-len(cells) // columns)
    size = columns * (width + GAP) + GAP, rows * (height + GAP) + GAP
    grid = Image.new("RGB", size, PAPER)
    for i, cell in enumerate(cells):
        row, column = divmod(i, columns)
        grid.paste(cell, (GAP + column * (width + GAP), GAP + row * (height + GAP)))
    return grid


def _cell(
    image: np.ndarray | None, box: np.ndarray, color: tuple, title: str, about: str
) -> Image.Image:
    """The person, the scene with the box in it, and two lines of text."""
    cell = Image.new("RGB", (PERSON[0] + SCENE[0] + 2, SCENE[1] + TEXT), CARD)
    draw = ImageDraw.Draw(cell)
    if image is not None:
        person = _fit(crop(image, box), PERSON)
        cell.paste(person, ((PERSON[0] - person.width) // 2, (PERSON[1] - person.height) // 2))
        scene = _fit(image, SCENE)
        scale = scene.width / image.shape[1]
        ImageDraw.Draw(scene).rectangle([float(v * scale) for v in box], outline=color, width=3)
        left = PERSON[0] + 2 + (SCENE[0] - scene.width) // 2
        cell.paste(scene, (left, (SCENE[1] - scene.height) // 2))
    else:
        draw.text((12, SCENE[1] // 2), "the picture is not there any more", FAINT, _font(13))
    draw.rectangle((0, SCENE[1], 4, SCENE[1] + TEXT), fill=color)
    draw.text((12, SCENE[1] + 5), title, INK, _font(14, "-Bold"))
    draw.text((12, SCENE[1] + 25), _shortened(about, cell.width - 20), FAINT, _font(12))
    return cell


def _fit(image: np.ndarray, size: tuple[int, int]) -> Image.Image:
    scale = min(size[0] / image.shape[1], size[1] / image.shape[0])
    size = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    return Image.fromarray(cv2.resize(image, size, interpolation=how)[:, :, ::-1])


def _shortened(text: str, width: int) -> str:
    font = _font(12)
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "…") > width:
        text = text[:-1]
    return text + "…"


# ------------------------------------------------------------------------------------------- page


def asset(name: str) -> str:
    """The text of a file that a page is made of, such as report.css."""
    return (Path(__file__).parent / name).read_text(encoding="utf-8")


def write_page(findings: list[Finding], gallery: str, note: str, path: str) -> None:
    """Write one HTML file that needs no other: scenes with boxes, which a click enlarges.

    Args:
        findings: what was looked for, and found.
        gallery: its address.
        note: what was searched, in words.
        path: where to write.
    """
    read = _scene_reader()
    page = Template(asset("page.html")).substitute(
        style=asset("report.css"),
        script=asset("report.js"),
        gallery=html.escape(gallery),
        note=html.escape(note),
        made=datetime.now().astimezone().strftime("%Y-%m-%d %H:%M"),
        findings="\n".join(_section(finding, read) for finding in findings),
    )
    try:
        Path(path).write_text(page, encoding="utf-8", errors="replace")
    except OSError as error:
        raise ImageError(f"cannot write the page {path}: {error.strerror}") from error


def _section(finding: Finding, read: ReadScene) -> str:
    queries = "".join(
        f'<figure class="query">{_scene(q.image, q.box, q.picture, "")}'
        f'<div class="person">{_person(q.image, q.box)}</div>'
        f"<figcaption>{_file_name(q.picture)}</figcaption></figure>"
        for q in finding.wanted.shown
    )
    decision = f"<p>{html.escape(str(finding.decision))}</p>" if finding.decision else ""
    return (
        f"<section><aside><h2>{html.escape(finding.wanted.label)}</h2>{decision}{queries}</aside>"
        f"{hit_cards(finding.hits, read)}</section>"
    )


def hit_cards(hits: list[Hit], read: ReadScene) -> str:
    """The hits as HTML, for a page with report.css and report.js."""
    cards = "".join(_card(rank, hit, read) for rank, hit in enumerate(hits, start=1))
    cards = cards or '<p class="nothing">Nobody in the gallery fits these conditions.</p>'
    return f'<div class="hits">{cards}</div>'


def _card(rank: int, hit: Hit, read: ReadScene) -> str:
    image, box = read(hit.picture, hit.seconds), np.array(hit.box)
    about = " · ".join([*facts(hit).values(), os.path.basename(hit.picture)])
    title = f"{rank}. similarity {hit.similarity:.3f} · {about}"
    if image is None:
        scene, person = '<div class="gone">the picture is not there any more</div>', ""
    else:
        scene, person = _scene(image, box, hit.picture, title), _person(image, box)
    known = facts(hit) | {"score": f"{hit.score:.2f}"}
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


def data_url(image: np.ndarray, side: int) -> str:
    """The image as a URL, its longer side at most so long."""
    scale = side / max(image.shape[:2])
    if scale < 1:
        size = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    jpeg = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 85])[1]
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode()
