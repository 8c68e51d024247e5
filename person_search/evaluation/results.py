"""What a person search model found on a test set, in one file that anyone can evaluate.

The file is an ``.npz`` without pickles. Its keys are the fields of :class:`SearchResults`, but for
the gallery: ``gallery_rule`` names a :class:`GalleryRule`, or ``gal_offsets``, ``gal_frames``,
``gal_has_gt`` and ``gal_boxes`` hold a :class:`GalleryLists`.

Shape shorthand in this module (``x_offsets``: rows of item i are ``x_offsets[i]:x_offsets[i+1]``):
    F: frames of the test set        G: ground-truth boxes     N: detections
    Q: queries                       M: context persons        K: gallery entries
    d: size of an embedding
"""

import os
from dataclasses import MISSING, dataclass, fields, replace
from typing import Any

import numpy as np

from ..errors import ResultsError
from ..files import atomic_write, read_npz
from ..labels import UNLABELED
from ..protocols import GalleryLists, GalleryRule, SearchProtocol
from .segments import lengths_to_offsets

FOREIGN_UNLABELED = 5555
"""Id of an unlabeled person in files that do not say it (SeqNet's convention)."""

# name: (length, shape of one row, numpy dtype kinds); the letters are those of the docstring.
_LAYOUT: dict[str, tuple[str, tuple, str]] = {
    "frame_names": ("F", (), "U"),
    "frame_cam": ("F", (), "iu"),
    "gt_offsets": ("F+1", (), "iu"),
    "gt_boxes": ("G", (4,), "iuf"),
    "gt_ids": ("G", (), "iu"),
    "det_offsets": ("F+1", (), "iu"),
    "dets": ("N", (5,), "iuf"),
    "det_embs": ("N", ("d",), "f"),
    "det_ignored": ("N", (), "b"),
    "query_frames": ("Q", (), "U"),
    "query_frame_index": ("Q", (), "iu"),
    "query_boxes": ("Q", (4,), "iuf"),
    "query_ids": ("Q", (), "iu"),
    "query_cam": ("Q", (), "iu"),
    "query_embs": ("Q", ("d",), "f"),
    "gt_embs": ("G", ("d",), "f"),
    "qctx_offsets": ("Q+1", (), "iu"),
    "qctx_dets": ("M", (5,), "iuf"),
    "qctx_embs": ("M", ("d",), "f"),
    "gal_offsets": ("Q+1", (), "iu"),
    "gal_frames": ("K", (), "iu"),
    "gal_has_gt": ("K", (), "b"),
    "gal_boxes": ("K", (4,), "iuf"),
}
_SIZED_BY = {
    "F": "frame_names",
    "Q": "query_ids",
    "G": "gt_ids",
    "N": "dets",
    "M": "qctx_dets",
    "K": "gal_frames",
}
_CONTEXT = ("qctx_offsets", "qctx_dets", "qctx_embs")
_LISTS = {
    "gal_offsets": "offsets",
    "gal_frames": "frames",
    "gal_has_gt": "has_target",
    "gal_boxes": "boxes",
}
"""Array of a file with gallery lists -> attribute of :class:`GalleryLists`."""


@dataclass(frozen=True, eq=False)
class SearchResults:
    """Frames, ground truth, detections and queries of one run; always consistent once built.

    Boxes are xyxy in pixels, of any numeric type.

    Attributes:
        frame_names: (F,) str, distinct; every frame of the test set in gallery order.
        frame_cam: (F,) camera ids, -1 unknown.
        gt_offsets, gt_boxes, gt_ids: (F + 1,), (G, 4), (G,) ground truth per frame.
        det_offsets, dets, det_embs: (F + 1,), (N, 5) boxes and scores, (N, d) embeddings.
        query_frames, query_frame_index: (Q,) frame of the query; (Q,) its index, -1 for none.
        query_boxes, query_ids, query_cam, query_embs: (Q, 4), (Q,), (Q,), (Q, d).
        gt_embs: (G, d) embeddings of the ground-truth boxes, or None.
        det_ignored: (N,) bool, detections where the data set says nothing about persons, or None.
        qctx_offsets, qctx_dets, qctx_embs: (Q + 1,), (M, 5), (M, d) persons in the frame of each
            query, row 0 the query itself, the rest by falling score; all None without context.
        gallery: where each query is searched: a rule, or lists with K entries.
        unlabeled_id: value of ``gt_ids`` that means a person without identity.
        protocol: name to print, e.g. "CUHK-SYSU, gallery 100".
        adapted: how the embeddings were adapted to the gallery; "": they are those of the model.

    Raises:
        ResultsError: an array is missing or does not fit the others.
    """

    frame_names: np.ndarray
    frame_cam: np.ndarray
    gt_offsets: np.ndarray
    gt_boxes: np.ndarray
    gt_ids: np.ndarray
    det_offsets: np.ndarray
    dets: np.ndarray
    det_embs: np.ndarray
    query_frames: np.ndarray
    query_frame_index: np.ndarray
    query_boxes: np.ndarray
    query_ids: np.ndarray
    query_cam: np.ndarray
    query_embs: np.ndarray
    gt_embs: np.ndarray | None = None
    det_ignored: np.ndarray | None = None
    qctx_offsets: np.ndarray | None = None
    qctx_dets: np.ndarray | None = None
    qctx_embs: np.ndarray | None = None
    gallery: GalleryRule | GalleryLists = GalleryRule.OTHER_FRAMES
    unlabeled_id: int = UNLABELED
    protocol: str = ""
    adapted: str = ""

    def __post_init__(self) -> None:
        missing = [name for name in _CONTEXT if getattr(self, name) is None]
        if missing and len(missing) < len(_CONTEXT):
            raise ResultsError(f"{missing[0]} is missing: it belongs with {', '.join(_CONTEXT)}")
        arrays = self.arrays()
        _check_layout({name: arrays[name] for name in _LAYOUT if name in arrays})
        _check_index(self.query_frame_index, "query_frame_index", -1, len(self.frame_names))
        if isinstance(self.gallery, GalleryLists):
            _check_index(self.gallery.frames, "gal_frames", 0, len(self.frame_names))
        _check_names(self)

    def arrays(self) -> dict[str, Any]:
        """What the file holds, by name; absent arrays are left out."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        gallery = values.pop("gallery")
        if isinstance(gallery, GalleryRule):
            values["gallery_rule"] = gallery.name
        else:
            values |= {name: getattr(gallery, key) for name, key in _LISTS.items()}
        return {name: value for name, value in values.items() if value is not None}

    def context_of(self, query: int) -> np.ndarray:
        """(n, d) float32 embeddings of a query and the persons beside it.

        Raises:
            ValueError: the results have no context.
        """
        if self.qctx_offsets is None or self.qctx_embs is None:
            raise ValueError("these results have no query context (qctx_embs)")
        rows = slice(*self.qctx_offsets[query : query + 2])
        return np.asarray(self.qctx_embs[rows], np.float32)

    def with_detections(self, kept: np.ndarray) -> "SearchResults":
        """The same results with those detections alone; ``kept``: (N,) bool."""
        frame = np.repeat(np.arange(len(self.frame_names)), np.diff(self.det_offsets))[kept]
        numbers = np.bincount(frame, minlength=len(self.frame_names))
        return replace(
            self,
            det_offsets=lengths_to_offsets(numbers),
            dets=self.dets[kept],
            det_embs=self.det_embs[kept],
            det_ignored=None if self.det_ignored is None else self.det_ignored[kept],
        )

    def save(self, path: str | os.PathLike) -> None:
        """Write the file; a reader sees the old one or the whole new one.

        Raises:
            OSError: the folder is missing or cannot be written.
        """
        with atomic_write(path) as temporary, open(temporary, "wb") as file:
            np.savez(file, **self.arrays())

    @classmethod
    def load(cls, path: str | os.PathLike) -> "SearchResults":
        """Read a file written by :meth:`save`, or one of the same layout; other keys are ignored.

        Raises:
            ResultsError: the file is missing or damaged, or an array is missing or inconsistent.
        """
        try:
            return cls(**_read_arrays(path))
        except ResultsError as error:
            raise ResultsError(f"{path}: {error}") from error


def dataset_arrays(frames: list[dict], protocol: SearchProtocol) -> dict[str, Any]:
    """The part of :class:`SearchResults` that a test set fills, as keyword arguments.

    Args:
        frames: detectron2 records with ``image_id``, ``camera_id``, and ``annotations`` that hold
            ``bbox`` (xyxy) and ``person_id``.
        protocol: queries and galleries; its frame indices refer to ``frames``.
    """
    annotations = [a for f in frames for a in f["annotations"]]
    return protocol_arrays(
        protocol,
        frame_names=np.array([str(f["image_id"]) for f in frames]),
        frame_cam=np.array([f["camera_id"] for f in frames]),
    ) | {
        "gt_offsets": lengths_to_offsets([len(f["annotations"]) for f in frames]),
        "gt_boxes": np.array([a["bbox"] for a in annotations], np.float64).reshape(-1, 4),
        "gt_ids": np.array([a["person_id"] for a in annotations], np.int64),
        "unlabeled_id": UNLABELED,
    }


def protocol_arrays(
    protocol: SearchProtocol, frame_names: np.ndarray, frame_cam: np.ndarray
) -> dict[str, Any]:
    """The part of :class:`SearchResults` that a protocol fills, as keyword arguments.

    Args:
        protocol: queries and galleries of the test set.
        frame_names: (F,) str.
        frame_cam: (F,) camera ids, -1 unknown.
    """
    return {
        "protocol": protocol.name,
        "gallery": protocol.gallery,
        "frame_names": frame_names,
        "frame_cam": frame_cam,
        "query_frames": frame_names[protocol.query_frames],
        "query_frame_index": protocol.query_frames,
        "query_boxes": protocol.query_boxes,
        "query_ids": protocol.query_ids,
        "query_cam": frame_cam[protocol.query_frames],
    }


_SCALARS = {"unlabeled_id": ("iu", int), "protocol": ("U", str), "adapted": ("U", str)}
_OF_GALLERY = {"gallery_rule": ("U", str), "kind": ("U", str)}


def _read_arrays(path: str | os.PathLike) -> dict[str, Any]:
    """The keyword arguments of :class:`SearchResults` that a file holds."""
    known = [f.name for f in fields(SearchResults)] + [*_OF_GALLERY, *_LISTS, "gal_gt_xywh"]
    try:
        found = read_npz(path)
    except FileNotFoundError as error:
        raise ResultsError("no such file; give the .npz that an evaluation saved") from error
    except (OSError, ValueError) as error:
        raise ResultsError(str(error)) from error
    arrays: dict[str, Any] = {name: found[name] for name in known if name in found}
    for field in fields(SearchResults):
        if field.default is MISSING and field.name not in arrays:
            raise ResultsError(f"{field.name} is missing; the layout is that of SearchResults")
    for name, (kinds, cast) in (_SCALARS | _OF_GALLERY).items():
        if name in arrays:
            if arrays[name].shape != () or arrays[name].dtype.kind not in kinds:
                raise ResultsError(f"{name} must be one {cast.__name__}")
            arrays[name] = cast(arrays[name])
    return {"unlabeled_id": FOREIGN_UNLABELED} | _with_gallery(arrays)


def _with_gallery(arrays: dict[str, Any]) -> dict[str, Any]:
    """The arrays of a file, with ``gallery`` in the place of those that describe it."""
    rule, kind = arrays.pop("gallery_rule", None), arrays.pop("kind", None)
    old_boxes = arrays.pop("gal_gt_xywh", None)
    if old_boxes is not None and "gal_boxes" not in arrays:
        arrays["gal_boxes"] = _old_boxes(old_boxes)
    lists = {key: arrays.pop(name) for name, key in _LISTS.items() if name in arrays}
    if rule is not None:
        legal = [r.name for r in GalleryRule]
        if rule not in legal:
            raise ResultsError(f"gallery_rule is {rule!r}, must be one of {', '.join(legal)}")
        return arrays | {"gallery": GalleryRule[rule]}
    if kind == "prw":
        return arrays | _old_rule(arrays.get("protocol", ""))
    if len(lists) < len(_LISTS):
        missing = next(name for name, key in _LISTS.items() if key not in lists)
        raise ResultsError(f"{missing} is missing: without gallery_rule a file holds the lists")
    return arrays | {"gallery": GalleryLists(**lists)}


def _old_rule(protocol: str) -> dict[str, Any]:
    """The gallery of files that call a rule "prw", and do not say which rule it was."""
    name = f"{protocol} (saved without its gallery rule)" if protocol else ""
    return {"gallery": GalleryRule.OTHER_FRAMES, "protocol": name}


def _old_boxes(xywh: np.ndarray) -> np.ndarray:
    """The boxes of older files, and of others' files, are x, y, w, h."""
    if xywh.ndim != 2 or xywh.shape[1] != 4 or xywh.dtype.kind not in "iuf":
        raise ResultsError(f"gal_gt_xywh is {xywh.dtype} {xywh.shape}, must be numbers (K, 4)")
    xyxy = np.asarray(xywh, np.float64)
    return np.concatenate([xyxy[:, :2], xyxy[:, :2] + xyxy[:, 2:]], axis=1)


def _check_layout(arrays: dict[str, np.ndarray]) -> None:
    """Every array has its dtype, shape and length, is finite, and its offsets are offsets."""
    for name, array in arrays.items():
        if array.ndim == 0:
            raise ResultsError(f"{name} is a single value, must be an array")
    sizes = {size: len(arrays[name]) for size, name in _SIZED_BY.items() if name in arrays}
    sizes |= {"F+1": sizes["F"] + 1, "Q+1": sizes["Q"] + 1}
    widths = [a.shape[1] for a in (arrays["query_embs"], arrays["det_embs"]) if a.ndim == 2]
    sizes["d"] = widths[0] if widths else 0
    for name, array in arrays.items():
        length, row, kinds = _LAYOUT[name]
        shape = (sizes[length], *(sizes.get(n, n) for n in row))
        if array.dtype.kind not in kinds:
            raise ResultsError(f"{name} is {array.dtype}, must be one of the kinds '{kinds}'")
        if array.shape != shape:
            raise ResultsError(f"{name} has shape {array.shape}, must be {shape}")
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise ResultsError(f"{name} holds NaN or infinite values, all must be finite")
    ends = {"gt_offsets": "G", "det_offsets": "N", "qctx_offsets": "M", "gal_offsets": "K"}
    for name, size in ends.items():
        if name in arrays:
            offsets = arrays[name].astype(np.int64)
            if offsets[0] != 0 or offsets[-1] != sizes[size] or (np.diff(offsets) < 0).any():
                raise ResultsError(f"{name} must never fall, start at 0 and end at {sizes[size]}")


def _check_index(index: np.ndarray, name: str, low: int, high: int) -> None:
    if len(index) and not (low <= index.min() and index.max() < high):
        raise ResultsError(
            f"{name} holds {index.min()}..{index.max()}, must lie in {low}..{high - 1}"
        )


def _check_names(results: SearchResults) -> None:
    names, first = np.unique(results.frame_names, return_index=True)
    if len(names) < len(results.frame_names):
        twice = np.delete(results.frame_names, first)[0]
        raise ResultsError(f"frame_names holds {twice} twice, every frame must be listed once")
    known = np.flatnonzero(results.query_frame_index >= 0)
    named = results.frame_names[results.query_frame_index[known]]
    wrong = known[named != results.query_frames[known]]
    if len(wrong):
        raise ResultsError(
            f"query_frame_index[{wrong[0]}] does not point at the frame named by query_frames"
        )
