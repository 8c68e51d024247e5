"""Streets in other styles, each in the file layout of a data set that hybrid pre-training takes.

They stand for detection sets, re-ID sets, and a re-ID set without identities, each with a look,
places and persons of its own. There is only a training set of each.
"""

import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2

from person_search.errors import DatasetError
from person_search.street.formats import luperson_path, market1501_name, write_odgt
from person_search.street.layouts import Annotation
from person_search.street.schedule import STREET_SIZES, StreetSize, plan_frames
from person_search.street.street import draw_frames, write_once
from person_search.street.style import DUSK, FOG, NIGHT, NOON, WEB, StreetStyle

VERSION = 1
"""Rises with every change of what is drawn."""

STAMP = "domain.json"
"""The file that is written last: what was drawn."""


@dataclass(frozen=True)
class Domain:
    """A look, and the layout ("crowdhuman", "market1501" or "luperson") that it comes in."""

    style: StreetStyle
    layout: str


DOMAINS = {
    "noon": Domain(NOON, "crowdhuman"),
    "night": Domain(NIGHT, "crowdhuman"),
    "dusk": Domain(DUSK, "market1501"),
    "fog": Domain(FOG, "market1501"),
    "web": Domain(WEB, "luperson"),
}
"""Every domain by its name. The look of Street itself is none of them."""


def draw_domain(root: str | Path, size: str, domain: str, seed: int = 0, workers: int = 0) -> Path:
    """Draws the training set of a domain, or finds it drawn already.

    Args:
        root: folder of the data sets; the set lies in ``root``/street/``size``_``domain``.
        size: a name of ``STREET_SIZES``: frames are those of its training set.
        domain: a name of ``DOMAINS``.
        seed: not negative; domains of one seed have different persons and places.
        workers: see :func:`.draw_street`.

    Returns:
        The folder that holds the layout.

    Raises:
        DatasetError: for an unknown size or domain, if the folder holds something else, or if it
            cannot be written.
    """
    if size not in STREET_SIZES or domain not in DOMAINS:
        raise DatasetError(
            f"Street has no domain {size}_{domain}; sizes are {', '.join(STREET_SIZES)}, domains "
            f"{', '.join(DOMAINS)}"
        )
    target = Path(root) / "street" / f"{size}_{domain}"
    stamp = {"version": VERSION, "size": size, "domain": domain, "seed": seed}
    own_seed = len(DOMAINS) * seed + 1_000_000 + list(DOMAINS).index(domain)
    draw = partial(
        _draw, size=STREET_SIZES[size], domain=DOMAINS[domain], seed=own_seed, workers=workers
    )

    def draw_and_stamp(folder: Path) -> None:
        draw(folder)
        (folder / STAMP).write_text(json.dumps(stamp))

    def check() -> None:
        try:
            found = json.loads((target / STAMP).read_text())
        except (OSError, ValueError) as error:
            raise DatasetError(
                f"{target / STAMP} is missing or damaged: remove {target} to draw it again"
            ) from error
        if found != stamp:
            raise DatasetError(
                f"{target} holds {found}, not {stamp}: remove it to draw it again, or choose "
                "another root"
            )

    write_once(target, check, draw_and_stamp, 1 + 30 * STREET_SIZES[size].frames[0] // 1000)
    return target


def _draw(folder: Path, size: StreetSize, domain: Domain, seed: int, workers: int) -> None:
    plans = plan_frames(size, seed, "train", domain.style)
    pictures = folder / "CrowdHuman" / "Images" if domain.layout == "crowdhuman" else folder
    pictures.mkdir(parents=True, exist_ok=True)
    paths = [pictures / f"{plan.name}.jpg" for plan in plans]
    jobs = [("train", index) for index in range(len(plans))]
    drawn = draw_frames(jobs, paths, size, seed, domain.style, workers)
    if domain.layout == "crowdhuman":
        write_odgt(folder / "CrowdHuman", "train", {f.name: _persons(f) for f in drawn})
        return
    for frame, path in zip(drawn, paths, strict=True):
        _write_persons(folder, domain.layout, frame, path)
        path.unlink()


def _persons(frame: Annotation) -> list[dict]:
    """Rows of CrowdHuman, without identities."""
    return [
        {"tag": "person", "fbox": [x1, y1, x2 - x1, y2 - y1]}
        for x1, y1, x2, y2 in frame.boxes.tolist()
    ]


def _write_persons(root: Path, layout: str, frame: Annotation, path: Path) -> None:
    """The pictures of the persons of a frame: of those with an identity, or of all."""
    image = cv2.imread(str(path))
    for row, (raw_id, box) in enumerate(zip(frame.ids.tolist(), frame.boxes, strict=True)):
        x1, y1, x2, y2 = box.round().astype(int).clip(0).tolist()
        if layout == "market1501" and raw_id >= 0:
            name = market1501_name(raw_id, frame.camera, frame.name[-6:], row)
            file = root / "Market-1501" / "bounding_box_train" / f"{name}.jpg"
        elif layout == "luperson":
            file = luperson_path(root, f"{frame.name}_{row:02d}")
        else:
            continue
        file.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(file), image[y1:y2, x1:x2], [cv2.IMWRITE_JPEG_QUALITY, 95])
