"""The canvas on which a figure is drawn, in body heights.

Shape shorthand in this module:
    N: number of points of an outline
"""

import cv2
import numpy as np

from person_search.street.marks import pattern_mask
from person_search.street.style import COLORS

TOP, SIDE = 1.16, 0.46
"""Height above the ground, and half the width, of the canvas of a figure."""


class Sketch:
    """A canvas in body heights. Every shape gets a thin line in a darker tone of its color."""

    def __init__(self, scale: float, yaw: float) -> None:
        self.scale = scale
        self.sin, self.cos = float(np.sin(yaw)), float(np.cos(yaw))
        shape = (round(TOP * scale), round(2 * SIDE * scale))
        self.canvas = np.zeros((*shape, 4), np.uint8)

    def view(self, left: float, forward: float, up: float) -> np.ndarray:
        """(2,) x to the right and y up, of a point of the body."""
        return np.array((left * self.cos + forward * self.sin, up))

    def depth(self, left: float, forward: float) -> float:
        """How near to the viewer a point of the body is."""
        return forward * self.cos - left * self.sin

    def pixels(self, outline: np.ndarray) -> np.ndarray:
        """(N, 2) int32 pixels of (N, 2) points in body heights."""
        points = np.asarray(outline, dtype=np.float64) * (1, -1) + (SIDE, TOP)
        return np.round(points * self.scale).astype(np.int32)

    def shape(self, outline, color, tone: float = 1.0, line: float = 0.72, pattern=None) -> None:
        """Fills an outline, (N, 2); ``pattern`` is a Fine whose pattern covers the shape."""
        if line:
            self.line(outline, color, tone * line)
        points = self.pixels(outline)
        cv2.fillPoly(self.canvas, [points], _bgra(COLORS[color], tone))
        if pattern is not None and pattern.pattern != "plain":
            self._pattern(points, pattern, tone)

    def line(self, outline, color, tone: float) -> None:
        """Strokes an outline, (N, 2); what is filled later covers its inner half."""
        width = max(2, round(0.013 * self.scale))
        bgra = _bgra(COLORS[color], tone)
        cv2.polylines(self.canvas, [self.pixels(outline)], True, bgra, width)

    def _pattern(self, points: np.ndarray, fine, tone: float) -> None:
        low = np.maximum(points.min(axis=0), 0)
        high = points.max(axis=0) + 1
        mask = np.zeros((high[1] - low[1], high[0] - low[0]), np.uint8)
        cv2.fillPoly(mask, [points - low], 1)
        x = (np.arange(low[0], high[0]) + 0.5) / self.scale - SIDE
        y = TOP - (np.arange(low[1], high[1]) + 0.5) / self.scale
        mask = mask[: self.canvas.shape[0] - low[1], : self.canvas.shape[1] - low[0]]
        x, y = x[: mask.shape[1]], y[: mask.shape[0]]
        chosen = pattern_mask(fine.pattern, fine.pattern_width, x, y) & (mask > 0)
        region = self.canvas[low[1] : low[1] + mask.shape[0], low[0] : low[0] + mask.shape[1]]
        region[chosen] = _bgra(COLORS[fine.pattern_color], tone)

    def limb(self, joints, radii, color, tone: float = 1.0, pattern=None) -> None:
        """Tapered bars with round ends from joint to joint, as one piece."""
        turn = np.linspace(0, 2 * np.pi, 20, endpoint=False)
        circle = np.stack((np.cos(turn), np.sin(turn)), axis=1)
        rings = [joint + radius * circle for joint, radius in zip(joints, radii, strict=True)]
        bars = [
            cv2.convexHull(np.concatenate(pair).astype(np.float32))[:, 0]
            for pair in zip(rings, rings[1:], strict=False)
        ]
        for bar in bars:
            self.line(bar, color, 0.72 * tone)
        for bar in bars:
            self.shape(bar, color, tone, line=0, pattern=pattern)

    def oval(self, center, radii, color, tone: float = 1.0, line: float = 0.72) -> None:
        """An ellipse."""
        turn = np.linspace(0, 2 * np.pi, 28, endpoint=False)
        around = np.stack((np.cos(turn), np.sin(turn)), axis=1)
        self.shape(np.asarray(center) + np.asarray(radii) * around, color, tone, line)

    def half_width(self, across: float, deep: float) -> float:
        """Half the width, as seen, of an elliptic cross-section of the body."""
        return float(np.hypot(across * self.cos, deep * self.sin))


def _bgra(rgb: tuple[int, int, int], tone: float) -> tuple[int, int, int, int]:
    red, green, blue = (min(255, int(c * tone)) for c in rgb)
    return blue, green, red, 255


def smooth(outline, rounds: int = 2) -> np.ndarray:
    """Cuts the corners of a closed outline (Chaikin)."""
    points = np.asarray(outline, dtype=np.float64)
    for _ in range(rounds):
        ahead = np.roll(points, -1, axis=0)
        points = np.stack((0.75 * points + 0.25 * ahead, 0.25 * points + 0.75 * ahead), axis=1)
        points = points.reshape(-1, 2)
    return points
