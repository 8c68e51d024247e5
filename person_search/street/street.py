"""Draws and writes the whole data set."""

import json
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import cv2
from tqdm import tqdm

from person_search.errors import DatasetError
from person_search.street.frames import draw_frame
from person_search.street.layouts import (
    Annotation,
    cuhk_images,
    prw_images,
    write_cuhk_sysu,
    write_prw,
)
from person_search.street.schedule import (
    SPLITS,
    STREET_SIZES,
    StreetSize,
    identities,
    plan_frames,
)
from person_search.street.style import DAY, StreetStyle

logger = logging.getLogger(__name__)

VERSION = 1
"""Rises with every change of what is drawn."""

STAMP = "identities.json"
"""The file that is written last: what was drawn, and the looks of every identity."""

_IMAGES: dict[str, tuple[str, Callable[[Path, list[str]], list[Path]]]] = {
    "prw": ("PRW", prw_images),
    "cuhk": ("CUHK-SYSU", cuhk_images),
}


def draw_street(
    root: str | Path,
    size: str = "small",
    seed: int = 0,
    layouts: tuple[str, ...] = ("prw", "cuhk"),
    workers: int = 0,
) -> Path:
    """Draws the Street data set, or finds it drawn already.

    The same seed and size give the same files, whatever the number of workers. Nothing is left
    behind when drawing fails or is interrupted.

    Args:
        root: folder of the data sets; the set lies in ``root``/street/``size``.
        size: a name of ``STREET_SIZES``.
        seed: not negative.
        layouts: "prw" and "cuhk": the file layouts to write. Their pictures share disk space where
            the file system has hard links.
        workers: processes that draw; 0 draws in this process. A script that asks for workers needs
            the usual ``if __name__ == "__main__":`` guard.

    Returns:
        The folder that holds PRW/, CUHK-SYSU/ and identities.json.

    Raises:
        DatasetError: for an unknown size or layout, if the folder holds something else, or if it
            cannot be written.
    """
    if size not in STREET_SIZES:
        raise DatasetError(f"Street has no size {size!r}; choose one of {', '.join(STREET_SIZES)}")
    if not layouts or not set(layouts) <= set(_IMAGES):
        raise DatasetError(f"Street layouts {layouts!r}: choose from {', '.join(_IMAGES)}")
    target = Path(root) / "street" / size
    check = partial(_check_drawn, target, seed, layouts)
    draw = partial(_draw, size=STREET_SIZES[size], seed=seed, layouts=layouts, workers=workers)
    if write_once(target, check, draw, _megabytes(STREET_SIZES[size])):
        logger.info("Drew Street (%s, seed %d) in %s", size, seed, target)
    return target


def write_once(
    target: Path, check: Callable[[], None], draw: Callable[[Path], None], megabytes: int
) -> bool:
    """Makes a folder with all its files, or finds it made; whether it was made now.

    Args:
        target: the folder.
        check: raises unless it is finished and what is wanted.
        draw: writes the files into a folder, which then becomes the target.
        megabytes: of disk space, for the error message.
    """
    if target.exists():
        check()
        return False
    temporary = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
        temporary.chmod(0o755)
        draw(temporary)
        os.replace(temporary, target)
    except OSError as error:
        if target.exists():  # another process has drawn it in the meantime
            check()
            return False
        raise DatasetError(
            f"{target}: Street cannot be written there ({error}); it needs about {megabytes} MB of "
            "free space in a folder that you may write to"
        ) from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
    return True


def _check_drawn(target: Path, seed: int, layouts: tuple[str, ...]) -> None:
    """Raises unless ``target`` is a finished set of this version, seed and these layouts."""
    try:
        stamp = json.loads((target / STAMP).read_text())
        found = (stamp["version"], stamp["seed"])
        missing = sorted(set(layouts) - set(stamp["layouts"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DatasetError(
            f"{target / STAMP} is missing or damaged: remove {target} to draw it again"
        ) from error
    if found != (VERSION, seed) or missing:
        raise DatasetError(
            f"{target} holds Street version {found[0]}, seed {found[1]}, layouts "
            f"{', '.join(stamp['layouts'])}, not version {VERSION}, seed {seed}, layouts "
            f"{', '.join(layouts)}: remove it to draw it again, or choose another root"
        )


def _draw(root: Path, size: StreetSize, seed: int, layouts: tuple[str, ...], workers: int) -> None:
    jobs = [(split, k) for p, split in enumerate(SPLITS) for k in range(size.frames[p])]
    names = [plan.name for split in SPLITS for plan in plan_frames(size, seed, split, DAY)]
    paths = {}
    for layout in layouts:
        folder, images = _IMAGES[layout]
        paths[layout] = images(root / folder, names)
        paths[layout][0].parent.mkdir(parents=True)
    first, *further = paths.values()
    drawn = draw_frames(jobs, first, size, seed, DAY, workers)
    for others in further:
        for source, destination in zip(first, others, strict=True):
            _link(source, destination)
    train, test = drawn[: size.frames[0]], drawn[size.frames[0] :]
    if "prw" in layouts:
        write_prw(root / "PRW", train, test, size.queries, seed)
    if "cuhk" in layouts:
        write_cuhk_sysu(root / "CUHK-SYSU", train, test, seed)
    _write_stamp(root / STAMP, size, seed, layouts)


def draw_frames(
    jobs: list[tuple[str, int]],
    paths: list[Path],
    size: StreetSize,
    seed: int,
    style: StreetStyle,
    workers: int,
) -> list[Annotation]:
    """Draws frames, each a split and an index in it, and writes their pictures."""
    draw = partial(_draw_one, size=size, seed=seed, style=style)
    drawn = []
    with tqdm(total=len(jobs), desc=f"Drawing Street ({size.name})", unit="frame") as progress:
        for annotation in _map(draw, jobs, paths, workers):
            drawn.append(annotation)
            progress.update()
    return drawn


def _draw_one(
    job: tuple[str, int], path: Path, size: StreetSize, seed: int, style: StreetStyle
) -> Annotation:
    """Draws one frame and writes its picture."""
    split, index = job
    plan = plan_frames(size, seed, split, style)[index]
    frame = draw_frame(size, seed, split, index, plan, style)
    quality = [cv2.IMWRITE_JPEG_QUALITY, style.jpeg_quality]
    path.write_bytes(cv2.imencode(".jpg", frame.image, quality)[1])
    shape = (size.width, size.height)
    return Annotation(plan.name, plan.camera, shape, frame.ids, frame.boxes, frame.hidden)


def _map(draw: Callable, jobs: list, paths: list[Path], workers: int) -> Iterator[Annotation]:
    if workers == 0:
        yield from map(draw, jobs, paths)
        return
    # Not "fork": OpenCV's threads do not survive it, and setNumThreads then never returns.
    with ProcessPoolExecutor(workers, get_context("spawn"), cv2.setNumThreads, (1,)) as pool:
        yield from pool.map(draw, jobs, paths, chunksize=8)


def _link(source: Path, destination: Path) -> None:
    try:
        os.link(source, destination)
    except OSError:  # a file system without hard links
        shutil.copyfile(source, destination)


def _write_stamp(path: Path, size: StreetSize, seed: int, layouts: tuple[str, ...]) -> None:
    people = {}
    for raw_id, person in identities(size, seed).items():
        split = SPLITS[int(raw_id > size.identities[0])]
        people[raw_id] = {"split": split, **asdict(person)}
    stamp = {"version": VERSION, "size": size.name, "seed": seed, "layouts": sorted(layouts)}
    path.write_text(json.dumps({**stamp, "identities": people}, indent=1))


def _megabytes(size: StreetSize) -> int:
    """Disk space of a set, from the 0.3 bytes per pixel of JPEG quality 90 and its annotations."""
    return 1 + sum(size.frames) * (3 * size.width * size.height // 10 + 8192) // 2**20
