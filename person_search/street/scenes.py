"""Places as cameras see them: background, objects, light and sensor.

Shape shorthand in this module:
    H, W: height and width of a frame in pixels
    h, w: height and width of an object's patch
"""

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from person_search.street.canvas import DETAIL, Canvas, Lens
from person_search.street.places import PLACES
from person_search.street.style import StreetStyle


@dataclass(frozen=True, eq=False)
class Prop:
    """An object that stands on the ground and hides who walks behind it.

    Attributes:
        patch: (h, w, 4) uint8 BGR and alpha, colors multiplied by alpha.
        corner: (x, y) of the patch in the frame.
        foot_y: where it stands; people with smaller foot_y are behind it.
    """

    patch: np.ndarray
    corner: tuple[int, int]
    foot_y: float


@dataclass(frozen=True, eq=False)
class Camera:
    """A place as one camera sees it.

    Attributes:
        lens: perspective.
        background: (H, W, 3) uint8 BGR without people.
        props: objects in front of the background.
        color: (3, 3) float32, applied to BGR after the gamma curve.
        gamma: exponent of the tone curve.
        blur: sigma of the lens blur in pixels.
        grain: (H + 64, W + 64, 3) int8 noise; every frame cuts its own window.
    """

    lens: Lens
    background: np.ndarray
    props: list[Prop]
    color: np.ndarray
    gamma: float
    blur: float
    grain: np.ndarray


@lru_cache(maxsize=32)
def make_camera(index: int, width: int, height: int, seed: int, style: StreetStyle) -> Camera:
    """Camera ``index`` (from 1) of a seed."""
    rng = np.random.default_rng([seed, 3, index])
    place = PLACES[index - 1]
    lens = Lens(width, height, place.horizon, place.person, place.far)
    canvas = Canvas(lens, rng)
    place.paint(canvas)
    props = [_make_prop(lens, rng, *item) for item in place.objects]
    for prop in props:
        _ground_shadow(canvas, prop, style.shadow)
    look = style.looks[index - 1]
    jitter = rng.uniform(1 - style.look_jitter, 1 + style.look_jitter, 3)
    gains = np.array(look.gains[::-1]) * jitter
    gray = np.full((3, 3), 1 / 3)
    color = gains[:, None] * (look.saturation * np.eye(3) + (1 - look.saturation) * gray)
    grain = rng.normal(0, style.noise, (height + 64, width + 64, 3))
    return Camera(
        lens=lens,
        background=_texture(canvas.finish(), rng),
        props=sorted(props, key=lambda prop: prop.foot_y),
        color=color.astype(np.float32),
        gamma=look.gamma,
        blur=float(rng.uniform(*style.blur)) * height / 480,
        grain=np.clip(np.round(grain), -127, 127).astype(np.int8),
    )


def _make_prop(lens: Lens, rng: np.random.Generator, paint, x: float, z: float) -> Prop:
    canvas = Canvas(lens, rng, channels=4)
    paint(canvas, x, z)
    patch = canvas.finish()
    left, top, width, height = cv2.boundingRect((patch[..., 3] > 0).view(np.uint8))
    patch = patch[top : top + height, left : left + width].copy()
    return Prop(patch, (left, top), float(lens.project([(x, 0, z)])[0, 1]))


def _ground_shadow(canvas: Canvas, prop: Prop, opacity: float) -> None:
    height, width = canvas.pixels.shape[:2]
    x = (prop.corner[0] + prop.patch.shape[1] / 2) * DETAIL
    wide = prop.patch.shape[1] * DETAIL
    mask = np.zeros((height, width), np.uint8)
    tall = max(4, round(0.12 * min(wide, prop.patch.shape[0] * DETAIL)))
    center = (round(x + 0.1 * wide), round(prop.foot_y * DETAIL))
    cv2.ellipse(mask, center, (round(0.6 * wide), tall), 0, 0, 360, 255, -1)
    mask = cv2.blur(mask, (tall * 2 + 1, tall + 1)).astype(np.float32)[..., None] / 255
    canvas.pixels[:] = canvas.pixels * (1 - opacity * mask)


def _texture(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Adds the fine and coarse unevenness of real surfaces."""
    height, width = picture.shape[:2]
    grain = np.zeros((height, width), np.float32)
    for cells, strength in ((8, 5.0), (40, 3.0), (200, 3.5)):
        noise = rng.standard_normal((cells * height // width + 2, cells)).astype(np.float32)
        grain += strength * cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(picture + grain[..., None], 0, 255).astype(np.uint8)
