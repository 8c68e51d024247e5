"""Writes the annotations of a drawn data set in the file layouts of PRW and of CUHK-SYSU.

The structures, variable names and number types are those of the real files, so that readers of the
real data sets read drawn ones.

Shape shorthand in this module:
    P: number of people in a frame
"""

from collections import defaultdict
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from scipy.io import savemat

GALLERY_SIZES = (50, 100, 500, 1000, 2000, 4000)
"""The gallery sizes of CUHK-SYSU."""

_MOST_TARGETS = GALLERY_SIZES[0] // 2
"""How many frames of the wanted person a CUHK-SYSU gallery lists at most."""

_HARD = 0.3
"""Share of a figure that must be hidden for CUHK-SYSU's ``ishard``."""

_OCCLUSION_SHARE, _RESOLUTION_SHARE = 187 / 2900, 290 / 2900
"""Sizes of CUHK-SYSU's two subsets of queries."""


@dataclass(frozen=True, eq=False)
class Annotation:
    """What is known about one drawn frame.

    Attributes:
        name: PRW-style name without ".jpg".
        camera: from 1.
        size: (width, height) in pixels.
        ids: (P,) raw identities; negative for people without identity.
        boxes: (P, 4) float64 xyxy, may leave the frame by a few pixels.
        hidden: (P,) share of each figure that is covered or outside the frame.
    """

    name: str
    camera: int
    size: tuple[int, int]
    ids: np.ndarray
    boxes: np.ndarray
    hidden: np.ndarray


@dataclass(frozen=True)
class _Spot:
    """One labeled box: an index into the frames, and a row of that frame."""

    frame: int
    row: int


# PRW ----------------------------------------------------------------------------------------


def prw_images(root: Path, frames: list[str]) -> list[Path]:
    """Where PRW keeps the pictures of these frames."""
    return [root / "frames" / f"{name}.jpg" for name in frames]


def write_prw(
    root: Path, train: list[Annotation], test: list[Annotation], queries: int, seed: int
) -> None:
    """Writes everything of PRW's layout but the pictures; at most ``queries`` queries."""
    (root / "annotations").mkdir(parents=True)
    for frame in train + test:
        sizes = frame.boxes[:, 2:] - frame.boxes[:, :2]
        rows = np.column_stack((frame.ids, frame.boxes[:, :2], sizes)).astype(np.float64)
        _save(root / "annotations" / f"{frame.name}.jpg.mat", "box_new", rows)
    for split, frames, id_key in (("train", train, "ID_train"), ("test", test, "ID_test2")):
        names = _column_cell([frame.name for frame in frames])
        _save(root / f"frame_{split}.mat", f"img_index_{split}", names)
        raw_ids = np.array(sorted(_spots(frames)), dtype=np.float64)
        _save(root / f"ID_{split}.mat", id_key, raw_ids[None])
    lines = []
    for spot in _prw_queries(test, queries, np.random.default_rng([seed, 5])):
        frame = test[spot.frame]
        x1, y1, x2, y2 = frame.boxes[spot.row]
        raw_id = frame.ids[spot.row]
        lines.append(f"{raw_id} {x1:g} {y1:g} {x2 - x1:g} {y2 - y1:g} {frame.name}\r\n")
    (root / "query_info.txt").write_bytes("".join(lines).encode("ascii"))


def _prw_queries(test: list[Annotation], wanted: int, rng: np.random.Generator) -> list[_Spot]:
    """At most one query per identity and camera; every identity has one before any has two."""
    ranked = []
    for raw_id, spots in sorted(_spots(test).items()):
        cameras = defaultdict(list)
        for spot in spots:
            cameras[test[spot.frame].camera].append(spot)
        if len(cameras) < 2:
            continue
        for rank, camera in enumerate(rng.permutation(sorted(cameras)).tolist()):
            ranked.append((rank, raw_id, cameras[camera][rng.integers(len(cameras[camera]))]))
    ranked.sort(key=lambda entry: entry[:2])
    chosen = sorted(ranked[:wanted], key=lambda entry: (entry[1], entry[0]))
    return [spot for _, _, spot in chosen]


# CUHK-SYSU ----------------------------------------------------------------------------------


def cuhk_images(root: Path, frames: list[str]) -> list[Path]:
    """Where CUHK-SYSU keeps the pictures of these frames: s1.jpg, s2.jpg, ..."""
    return [root / "Image" / "SSM" / f"s{k}.jpg" for k in range(1, len(frames) + 1)]


def write_cuhk_sysu(root: Path, train: list[Annotation], test: list[Annotation], seed: int) -> None:
    """Writes everything of CUHK-SYSU's layout but the pictures.

    There is one query per test identity. Its gallery lists the frames with that person first, 25
    at most, and then frames without. A pool of fewer than 50 frames gets one gallery size, with as
    many frames as there are.
    """
    for folder in ("annotation/test/train_test", "annotation/test/subset"):
        (root / folder).mkdir(parents=True)
    frames = train + test
    _write_frames(root / "annotation", frames, len(train))
    writer = _GalleryWriter(frames, len(train), np.random.default_rng([seed, 6]))
    folder = root / "annotation" / "test"
    for size in writer.sizes:
        _save(folder / "train_test" / f"TestG{size}.mat", f"TestG{size}", writer.protocol(size))
    usual = 100 if 100 in writer.sizes else writer.sizes[0]
    hidden, height = writer.query_difficulty()
    subsets = (
        ("Occlusion", "Occlusion1", np.argsort(-hidden, kind="stable"), _OCCLUSION_SHARE),
        ("Resolution", "Test_Size", np.argsort(height, kind="stable"), _RESOLUTION_SHARE),
    )
    for name, variable, order, share in subsets:
        chosen = np.sort(order[: max(1, round(share * len(order)))])
        entries = writer.protocol(usual)[:, chosen]
        _save(folder / "subset" / f"{name}.mat", variable, entries)


def _write_frames(root: Path, frames: list[Annotation], train_count: int) -> None:
    """Images.mat, pool.mat, Person.mat and Train.mat."""
    rows = []
    for k, frame in enumerate(frames):
        box = [(_idlocate(frame, row), _is_hard(frame, row)) for row in range(len(frame.ids))]
        rows.append((_imname(k), _number(len(box)), _struct(("idlocate", "ishard"), box)))
    _save(root / "Images.mat", "Img", _struct(("imname", "nAppear", "box"), rows))
    pool = [_imname(k) for k in range(train_count, len(frames))]
    _save(root / "pool.mat", "pool", _column_cell(pool))
    people = []
    for raw_id, spots in sorted(_spots(frames).items()):
        scene = [_located(frames, spot) for spot in spots]
        person = (f"p{raw_id}", _number(len(scene)), _struct(_LOCATED, scene))
        people.append((spots[0].frame < train_count, person))
    fields = ("idname", "nAppear", "scene")
    _save(root / "Person.mat", "Person", _struct(fields, [person for _, person in people]))
    train = [_struct(fields, [person]) for in_train, person in people if in_train]
    _save(root / "test" / "train_test" / "Train.mat", "Train", _column_cell(train))


_LOCATED = ("imname", "idlocate", "ishard")


class _GalleryWriter:
    """Chooses the queries and lists their galleries; larger galleries begin with smaller ones."""

    def __init__(self, frames: list[Annotation], first: int, rng: np.random.Generator) -> None:
        self.frames = frames
        pool = np.arange(first, len(frames))
        self.queries: list[_Spot] = []
        self.targets: list[list[_Spot]] = []
        self.others: list[np.ndarray] = []
        for _, spots in sorted(_spots(frames, first).items()):
            if len(spots) < 2:
                continue
            query, *targets = (spots[i] for i in rng.permutation(len(spots)))
            self.queries.append(query)
            self.targets.append(targets[:_MOST_TARGETS])
            self.others.append(rng.permutation(np.setdiff1d(pool, [s.frame for s in spots])))
        room = min(
            len(targets) + len(others)
            for targets, others in zip(self.targets, self.others, strict=True)
        )
        fitting = tuple(size for size in GALLERY_SIZES if size <= room)
        self.sizes = fitting or GALLERY_SIZES[:1]

    def protocol(self, size: int) -> np.ndarray:
        """The (1, Q) struct array of a TestG file with galleries of ``size`` frames."""
        empty = np.zeros((1, 0))
        rows = []
        for query, targets, others in zip(self.queries, self.targets, self.others, strict=True):
            raw_id = self.frames[query.frame].ids[query.row]
            asked = _struct((*_LOCATED, "idname"), [(*_located(self.frames, query), f"p{raw_id}")])
            gallery = [_located(self.frames, spot) for spot in targets]
            gallery += [(_imname(k), empty, empty) for k in others.tolist()]
            rows.append((asked, _struct(_LOCATED, gallery[:size])))
        return _struct(("Query", "Gallery"), rows)

    def query_difficulty(self) -> tuple[np.ndarray, np.ndarray]:
        """(Q,) hidden share and (Q,) height in pixels of the queries."""
        hidden = [self.frames[query.frame].hidden[query.row] for query in self.queries]
        boxes = [self.frames[query.frame].boxes[query.row] for query in self.queries]
        return np.array(hidden), np.array([box[3] - box[1] for box in boxes])


def _imname(frame: int) -> str:
    return f"s{frame + 1}.jpg"


def _located(frames: list[Annotation], spot: _Spot) -> tuple[str, np.ndarray, np.ndarray]:
    frame = frames[spot.frame]
    return _imname(spot.frame), _idlocate(frame, spot.row), _is_hard(frame, spot.row)


def _idlocate(frame: Annotation, row: int) -> np.ndarray:
    """(1, 4) x, y, w, h inside the frame, in the smallest unsigned type, as MATLAB saved them."""
    corners = np.clip(frame.boxes[row].reshape(2, 2), 0, frame.size).astype(np.int64)
    box = np.concatenate((corners[0], corners[1] - corners[0]))[None]
    return box.astype(np.uint8 if box.max() <= 255 else np.uint16)


def _is_hard(frame: Annotation, row: int) -> np.ndarray:
    return _number(int(frame.hidden[row] > _HARD))


# MATLAB -------------------------------------------------------------------------------------


def _spots(frames: list[Annotation], first: int = 0) -> dict[int, list[_Spot]]:
    """Where each identity is, among the frames from ``first`` on."""
    spots = defaultdict(list)
    for k in range(first, len(frames)):
        for row, raw_id in enumerate(frames[k].ids.tolist()):
            if raw_id >= 0:
                spots[raw_id].append(_Spot(k, row))
    return spots


def _number(value: int) -> np.ndarray:
    return np.array([[value]], dtype=np.uint8 if value <= 255 else np.uint16)


def _struct(fields: tuple[str, ...], rows: list[tuple]) -> np.ndarray:
    """A (1, n) MATLAB struct array."""
    array = np.empty((1, len(rows)), dtype=[(name, object) for name in fields])
    for k, row in enumerate(rows):
        array[0, k] = row
    return array


def _column_cell(values: list) -> np.ndarray:
    """An (n, 1) MATLAB cell array."""
    cell = np.empty((len(values), 1), dtype=object)
    for k, value in enumerate(values):
        cell[k, 0] = value
    return cell


def _save(path: Path, variable: str, value: np.ndarray) -> None:
    """Writes a MAT 5 file whose header, unlike scipy's, does not hold the time of writing."""
    buffer = BytesIO()
    savemat(buffer, {variable: value}, do_compression=True)
    header = b"MATLAB 5.0 MAT-file, drawn by person_search".ljust(116)
    path.write_bytes(header + buffer.getvalue()[len(header) :])
