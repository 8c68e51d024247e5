"""From the outputs of a detector to boxes and scores of persons.

Every decoder returns (n, 4) xyxy boxes in pixels of the network's input, and (n,) scores.

Shape shorthand in this module:
    P: places where the network looks; C: classes; h, w: size of the network's input
"""

import cv2
import numpy as np

YOLOX_STRIDES = (8, 16, 32)

Decoded = tuple[np.ndarray, np.ndarray]


def decode_yolox(outputs: list[np.ndarray], size: tuple[int, int], person_class: int) -> Decoded:
    """YOLOX as its authors export it: (1, P, 5 + C) of a grid of each stride 8, 16, 32.

    A row is the center in cells from its own cell, the logarithm of the size in cells, the
    objectness and the classes. In an input of 32x32 there are 16 + 4 + 1 places. The row
    (0.5, 0.5, log 2, log 4, 0.9, 0.8) of the second place of stride 8, cell (1, 0), means the
    center (1.5, 0.5) x 8 = (12, 4), the size (16, 32), the score 0.9 x 0.8 = 0.72.

    Raises:
        ValueError: the rows are not those of such grids, or there is no such class.
    """
    rows = _only_one(outputs)
    rows = rows.reshape(rows.shape[-2:]) if rows.ndim > 1 else rows[None]
    cells, strides = [], []
    for stride in YOLOX_STRIDES:
        y, x = np.mgrid[: size[0] // stride, : size[1] // stride]
        cells.append(np.stack([x, y], -1).reshape(-1, 2))
        strides.append(np.full((len(cells[-1]), 1), stride, np.float32))
    corner, stride_of = np.concatenate(cells), np.concatenate(strides)
    if len(rows) != len(corner):
        raise ValueError(f"gives {len(rows)} places, but {size} has {len(corner)} grid cells")
    classes = rows.shape[1] - 5
    if person_class >= classes:
        raise ValueError(f"has {classes} classes, so none of index {person_class}")
    center = (rows[:, :2] + corner) * stride_of
    half = np.exp(rows[:, 2:4]) * stride_of / 2
    return np.hstack([center - half, center + half]), rows[:, 4] * rows[:, 5 + person_class]


def yolox_places(size: tuple[int, int]) -> int:
    """P of an input of a size: 416x416 has 52 x 52 + 26 x 26 + 13 x 13 = 3549."""
    return sum((size[0] // stride) * (size[1] // stride) for stride in YOLOX_STRIDES)


def decode_ssd(outputs: list[np.ndarray], size: tuple[int, int], person_class: int) -> Decoded:
    """SSD's last layer: (1, 1, n, 7) rows of picture, label, score, x1, y1, x2, y2 in 0..1.

    The rows end where a picture is -1.

    Raises:
        ValueError: the rows have another length.
    """
    rows = _only_one(outputs)
    if rows.shape[-1] != 7:
        raise ValueError(f"gives rows of {rows.shape[-1]} values, SSD's have 7")
    rows = rows.reshape(-1, 7)
    end = np.flatnonzero(rows[:, 0] < 0)
    rows = rows[: end[0]] if len(end) else rows
    rows = rows[rows[:, 1] == person_class]
    return rows[:, 3:] * np.array([size[1], size[0]] * 2, np.float32), rows[:, 2]


def decode_boxes_scores(
    outputs: list[np.ndarray], size: tuple[int, int], person_class: int
) -> Decoded:
    """Boxes (n, 4) xyxy in pixels of the input, and scores (n,) or (n, C); or one array (n, 5).

    Raises:
        ValueError: other shapes, or there is no such class.
    """
    boxes = outputs[0]
    boxes = boxes.reshape(-1, boxes.shape[-1])
    if boxes.shape[1] == 5:
        boxes, scores = boxes[:, :4], boxes[:, 4]
    elif boxes.shape[1] == 4 and len(outputs) > 1 and len(boxes) == 0:
        scores = np.zeros(0, np.float32)
    elif boxes.shape[1] == 4 and len(outputs) > 1 and outputs[1].size % len(boxes) == 0:
        scores = outputs[1].reshape(len(boxes), -1)
        if person_class >= scores.shape[1]:
            raise ValueError(f"has {scores.shape[1]} classes, so none of index {person_class}")
        scores = scores[:, person_class]
    else:
        shapes = ", ".join(str(output.shape) for output in outputs)
        raise ValueError(f"gives {shapes}, which are no boxes (n, 4) and scores of them")
    return boxes, scores


def _only_one(outputs: list[np.ndarray]) -> np.ndarray:
    if len(outputs) != 1:
        raise ValueError(f"gives {len(outputs)} outputs instead of one")
    return outputs[0]


DECODERS = {"yolox": decode_yolox, "ssd": decode_ssd, "boxes_scores": decode_boxes_scores}


def keep_best(boxes: np.ndarray, scores: np.ndarray, score_thresh: float, iou: float) -> np.ndarray:
    """Indices of boxes after NMS, best score first.

    (0, 0, 10, 10) with 0.9, (1, 0, 11, 10) with 0.8, (20, 0, 30, 10) with 0.7: the second overlaps
    the first with 90 / 110 = 0.82; with ``iou`` 0.5 it goes.

    Args:
        boxes: (n, 4) xyxy.
        scores: (n,).
        score_thresh: lower ones go.
        iou: of two boxes that overlap more, the one with the lower score goes.
    """
    rows = np.flatnonzero(scores >= score_thresh)
    if not len(rows):
        return rows
    xywh = boxes[rows].astype(np.float64)
    xywh[:, 2:] -= xywh[:, :2]
    kept = cv2.dnn.NMSBoxes(xywh.tolist(), scores[rows].astype(np.float64).tolist(), 0.0, iou)
    return rows[np.asarray(kept, np.int64).reshape(-1)]
