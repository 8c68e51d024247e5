"""A camera's perspective, and a canvas to paint on in the coordinates of a place.

Lengths of a place are person heights: X to the right, Y up, Z away from the viewer.

Shape shorthand in this module:
    N: number of points
"""

from dataclasses import dataclass

import cv2
import numpy as np

DETAIL = 2
"""Canvases are painted this much larger than the frame."""


@dataclass(frozen=True)
class Lens:
    """A camera that looks straight ahead, with a shifted image plane.

    Attributes:
        width, height: of the frame in pixels.
        horizon: y of the horizon as a share of the height; negative looks down on the place.
        person: height of a person whose feet are on the lower frame edge, as a share of the height.
        far: smallest height of a person, as a share of the height.
    """

    width: int
    height: int
    horizon: float
    person: float
    far: float

    @property
    def eye(self) -> float:
        """Height of the camera above the ground, in person heights."""
        return (1 - self.horizon) / self.person

    @property
    def focal(self) -> float:
        """Pixels per person height at distance 1."""
        return 0.85 * self.width

    def project(self, points) -> np.ndarray:
        """(N, 3) points X, Y, Z -> (N, 2) pixels."""
        x, y, z = np.asarray(points, dtype=float).reshape(-1, 3).T
        scale = self.focal / np.maximum(z, 0.05)
        return np.stack(
            (self.width / 2 + x * scale, self.horizon * self.height + (self.eye - y) * scale), 1
        )

    def person_height(self, foot_y: float) -> float:
        """Height in pixels of an average person whose feet are at this y."""
        return (foot_y - self.horizon * self.height) / self.eye

    def foot_y(self, person_height: float) -> float:
        """Where the feet of a person of this height are."""
        return self.horizon * self.height + person_height * self.eye


class Canvas:
    """A picture, painted in the coordinates of a lens."""

    def __init__(self, lens: Lens, rng: np.random.Generator, channels: int = 3) -> None:
        self.lens, self.rng = lens, rng
        self.pixels = np.zeros((lens.height * DETAIL, lens.width * DETAIL, channels), np.uint8)
        self.channels = channels

    def area(self, points, rgb) -> None:
        """Fills the polygon of (N, 2) frame pixels."""
        points = np.clip(np.asarray(points, dtype=float) * DETAIL, -20000, 20000)
        fixed = np.round(points * 16).astype(np.int32)
        cv2.fillPoly(self.pixels, [fixed], self._color(rgb), cv2.LINE_AA, 4)

    def solid(self, points, rgb) -> None:
        """Fills the polygon of (N, 3) scene points."""
        self.area(self.lens.project(points), rgb)

    def wall(self, z: float, x: tuple[float, float], y: tuple[float, float], rgb) -> None:
        """A rectangle that faces the camera."""
        self.solid([(x[0], y[0], z), (x[1], y[0], z), (x[1], y[1], z), (x[0], y[1], z)], rgb)

    def floor(self, x: tuple[float, float], z: tuple[float, float], rgb) -> None:
        """A rectangle on the ground."""
        self.solid([(x[0], 0, z[0]), (x[1], 0, z[0]), (x[1], 0, z[1]), (x[0], 0, z[1])], rgb)

    def disc(self, center, radius: float, rgb, squash: float = 1.0) -> None:
        """An ellipse around a scene point; the radius is in person heights."""
        scale = self.lens.focal / center[2]
        turn = np.linspace(0, 2 * np.pi, 40, endpoint=False)
        middle = self.lens.project([center])[0]
        around = np.stack((np.cos(turn), squash * np.sin(turn)), axis=1)
        self.area(middle + radius * scale * around, rgb)

    def gradient(self, top_rgb, bottom_rgb, y: tuple[float, float]) -> None:
        """Fills the rows y[0]..y[1] (shares of the height) with a vertical gradient."""
        low, high = (int(np.clip(v, 0, 1) * self.pixels.shape[0]) for v in y)
        share = np.linspace(0, 1, max(high - low, 1))[: high - low, None, None]
        top, bottom = (np.array(rgb[::-1], dtype=float) for rgb in (top_rgb, bottom_rgb))
        self.pixels[low:high] = (top + (bottom - top) * share).astype(np.uint8)

    def _color(self, rgb) -> tuple[int, ...]:
        bgr = tuple(int(np.clip(c, 0, 255)) for c in rgb[::-1])
        return bgr if self.channels == 3 else (*bgr, 255)

    def finish(self) -> np.ndarray:
        """The picture at frame size."""
        size = (self.lens.width, self.lens.height)
        return cv2.resize(self.pixels, size, interpolation=cv2.INTER_AREA)
