"""A contact sheet of what a search found: one picture, for people to look at.

Boxes are xyxy in pixels of their picture; images are (H, W, 3) uint8 BGR.
"""

import os
from functools import lru_cache
from pathlib import Path

import cv2
import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from person_search.errors import ImageError

from ..search import SearchResult
from ..trust import Pictures
from .pictures import crop, scene_details, scene_reader

SCENE, PERSON, TEXT, GAP = (256, 176), (88, 176), 46, 14
PAPER, CARD, INK, FAINT = (243, 244, 246), (255, 255, 255), (31, 41, 55), (120, 128, 140)
QUERY, FOUND = (37, 99, 235), (5, 150, 105)
COLUMNS = 5


@lru_cache
def _font(size: int, weight: str = "") -> ImageFont.FreeTypeFont:
    name = f"DejaVuSans{weight}.ttf"  # knows most of the world's letters, and is always there
    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name, size)


def write_sheet(results: list[SearchResult], pictures: Pictures, path: str) -> None:
    """Write a picture: for each person a row of queries and the hits, best first.

    Args:
        results: what was looked for, and found.
        pictures: of the gallery, those that may be opened.
        path: where to write; its suffix names the format.

    Raises:
        ImageError: the file cannot be written.
    """
    read, blocks = scene_reader(pictures), []
    for result in results:
        cells = [
            _cell(q.image, q.box, QUERY, result.query.label, os.path.basename(q.picture))
            for q in result.query.images
        ]
        for rank, hit in enumerate(result.hits, start=1):
            about = "  ".join(scene_details(hit).values())
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
    image: np.ndarray | str, box: np.ndarray, color: tuple, title: str, about: str
) -> Image.Image:
    """The person, the scene with the box in it, and two lines of text."""
    cell = Image.new("RGB", (PERSON[0] + SCENE[0] + 2, SCENE[1] + TEXT), CARD)
    draw = ImageDraw.Draw(cell)
    if isinstance(image, np.ndarray):
        person = _fit(crop(image, box), PERSON)
        cell.paste(person, ((PERSON[0] - person.width) // 2, (PERSON[1] - person.height) // 2))
        scene = _fit(image, SCENE)
        scale = scene.width / image.shape[1]
        ImageDraw.Draw(scene).rectangle([float(v * scale) for v in box], outline=color, width=3)
        left = PERSON[0] + 2 + (SCENE[0] - scene.width) // 2
        cell.paste(scene, (left, (SCENE[1] - scene.height) // 2))
    else:
        draw.text((12, SCENE[1] // 2), _shortened(image, cell.width - 20), FAINT, _font(12))
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
