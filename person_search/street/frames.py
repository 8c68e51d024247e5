"""Draws one frame: people and objects in a place, then light, lens and sensor.

Shape shorthand in this module:
    H, W: height and width of a frame in pixels
    P: number of people in the frame
"""

from dataclasses import dataclass

import cv2
import numpy as np

from person_search.street.appearance import Appearance, sample_appearance
from person_search.street.canvas import Lens
from person_search.street.figures import Figure, Pose, draw_figure
from person_search.street.scenes import Camera, Prop, make_camera
from person_search.street.schedule import SPLITS, FramePlan, StreetSize, identities
from person_search.street.style import StreetStyle

NOBODY = -2
"""PRW's raw id of a person without identity."""

_HIDDEN_AT_MOST = 0.6
_EDGE_SLACK = 3
"""How far, in pixels, the box of a person cut by the frame edge may leave the frame (as in PRW)."""


@dataclass(frozen=True, eq=False)
class Frame:
    """A drawn frame.

    Attributes:
        image: (H, W, 3) uint8 BGR.
        ids: (P,) raw identities, or NOBODY.
        boxes: (P, 4) float64 xyxy around the full figure, hidden parts included; a figure cut by
            the frame edge has a box that ends there, give or take a few pixels.
        hidden: (P,) share of the figure that is covered or outside the frame.
    """

    image: np.ndarray
    ids: np.ndarray
    boxes: np.ndarray
    hidden: np.ndarray


@dataclass(frozen=True, eq=False)
class _Actor:
    raw_id: int
    person: Appearance
    pose: Pose
    foot: tuple[float, float]
    box: np.ndarray


def draw_frame(
    size: StreetSize, seed: int, split: str, index: int, plan: FramePlan, style: StreetStyle
) -> Frame:
    """Draws frame ``index`` of a split; depends on the arguments alone."""
    rng = np.random.default_rng([seed, 4, SPLITS.index(split), index])
    camera = make_camera(plan.camera, size.width, size.height, seed, style)
    everybody = identities(size, seed)
    cast = [(raw_id, everybody[raw_id]) for raw_id in plan.people]
    cast += [(NOBODY, sample_appearance(rng)) for _ in range(plan.passers_by)]
    actors: list[_Actor] = []
    for raw_id, person in cast:
        actors.append(_place(rng, camera, raw_id, person, actors))
    return compose(camera, actors, rng, style)


def _place(
    rng: np.random.Generator, camera: Camera, raw_id: int, person: Appearance, others: list[_Actor]
) -> _Actor:
    """Finds a spot where nobody hides, or is hidden by, too much of somebody else."""
    best: tuple[float, _Actor] | None = None
    for _ in range(24):
        actor = _candidate(rng, camera.lens, raw_id, person)
        cover = _worst_cover(actor, others, camera.props)
        if best is None or cover < best[0]:
            best = cover, actor
        if cover < 0.45 * rng.random() ** 0.5:
            break
    return best[1]


def _candidate(rng: np.random.Generator, lens: Lens, raw_id: int, person: Appearance) -> _Actor:
    tall = lens.height * np.exp(rng.uniform(np.log(lens.far), np.log(lens.person * 1.02)))
    foot_y = lens.foot_y(tall)
    walking = rng.random() < 0.8
    pose = Pose(
        yaw=float(rng.uniform(0, 2 * np.pi)),
        phase=float(rng.uniform(0, 2 * np.pi)),
        stride=float(rng.uniform(0.5, 1.0)) if walking else float(rng.uniform(0, 0.12)),
    )
    tall *= person.coarse.height
    reach = -0.06 if rng.random() < 0.12 else 0.2
    x = float(rng.uniform(reach * tall, lens.width - reach * tall))
    box = np.array([x - 0.2 * tall, foot_y - tall, x + 0.2 * tall, foot_y])
    return _Actor(raw_id, person, pose, (x, float(foot_y)), box)


def _worst_cover(actor: _Actor, others: list[_Actor], props: list[Prop]) -> float:
    """Largest share of a box that the new person covers or loses, judged by rectangles."""
    lost = 0.0
    worst = 0.0
    for other in others:
        near, far = (actor, other) if actor.foot[1] > other.foot[1] else (other, actor)
        share = _covered_share(far.box, near.box)
        if far is actor:
            lost += share
        worst = max(worst, share)
    for prop in props:
        if prop.foot_y > actor.foot[1]:
            height, width = prop.patch.shape[:2]
            x, y = prop.corner
            lost += 0.9 * _covered_share(actor.box, np.array([x, y, x + width, y + height]))
    return max(worst, lost)


def _covered_share(box: np.ndarray, cover: np.ndarray) -> float:
    width = min(box[2], cover[2]) - max(box[0], cover[0])
    height = min(box[3], cover[3]) - max(box[1], cover[1])
    return max(width, 0) * max(height, 0) / ((box[2] - box[0]) * (box[3] - box[1]))


def compose(
    camera: Camera, actors: list[_Actor], rng: np.random.Generator, style: StreetStyle
) -> Frame:
    """Paints actors and objects from the far ones to the near ones, then the camera's look."""
    height, width = camera.background.shape[:2]
    image = camera.background.copy()
    actors = sorted(actors, key=lambda actor: actor.foot[1])
    layers: list[tuple[float, int, np.ndarray, tuple[int, int]]] = [
        (prop.foot_y, -1, prop.patch, prop.corner) for prop in camera.props
    ]
    boxes = np.zeros((len(actors), 4))
    for k, actor in enumerate(actors):
        tall = camera.lens.person_height(actor.foot[1])
        figure = draw_figure(actor.person, actor.pose, tall)
        patch = _lit(figure, 1 + rng.uniform(-style.person_light, style.person_light))
        corner = (round(actor.foot[0]) - figure.foot[0], round(actor.foot[1]) - figure.foot[1])
        layers.append((actor.foot[1], k, patch, corner))
        boxes[k] = (*corner, corner[0] + patch.shape[1], corner[1] + patch.shape[0])
        _shadow(image, actor.foot, tall, style.shadow)
    owner = np.full((height, width), -1, np.int16)
    total = np.zeros(len(actors))
    for _, k, patch, corner in sorted(layers, key=lambda layer: layer[0]):
        _paste(image, owner, patch, corner, k)
        if k >= 0:
            total[k] = np.count_nonzero(patch[..., 3] > 127)
    seen = np.bincount(owner[owner >= 0], minlength=len(actors))
    hidden = 1 - seen / np.maximum(total, 1)
    limit = (width + _EDGE_SLACK, height + _EDGE_SLACK)
    boxes = np.clip(boxes, -_EDGE_SLACK, np.tile(limit, 2))
    ids = np.array([actor.raw_id for actor in actors])
    ids[hidden > _HIDDEN_AT_MOST] = NOBODY
    return Frame(_develop(image, camera, rng, style), ids, boxes, hidden)


def _lit(figure: Figure, gain: float) -> np.ndarray:
    patch = figure.patch
    lit = np.minimum(patch[..., :3] * np.float32(gain), patch[..., 3:])
    return np.concatenate((lit.astype(np.uint8), patch[..., 3:]), axis=2)


def _shadow(image: np.ndarray, foot: tuple[float, float], tall: float, opacity: float) -> None:
    """Darkens the ground under somebody."""
    wide, deep = round(0.42 * tall), max(3, round(0.10 * tall))
    x, y = round(foot[0] - 0.40 * wide), round(foot[1] - 0.55 * deep)
    across = np.linspace(-1, 1, wide, dtype=np.float32)[None] ** 2
    along = np.linspace(-1, 1, deep, dtype=np.float32)[:, None] ** 2
    soft = np.clip(1.5 * (1 - across - along), 0, 1) * opacity
    (rows, columns), (own_rows, own_columns) = _overlap(image.shape, soft.shape, (x, y))
    region = image[rows, columns]
    region[:] = region * (1 - soft[own_rows, own_columns, None])


def _paste(
    image: np.ndarray, owner: np.ndarray, patch: np.ndarray, corner: tuple[int, int], number: int
) -> None:
    (rows, columns), own = _overlap(image.shape, patch.shape, corner)
    patch = patch[own]
    rest = 255 - patch[..., 3:].astype(np.uint16)
    region = image[rows, columns]
    region[:] = patch[..., :3] + (region * rest + 127) // 255
    owner[rows, columns][patch[..., 3] > 127] = number


def _overlap(frame_shape, patch_shape, corner: tuple[int, int]):
    """Slices of the frame and of the patch where a patch at ``corner`` lies inside the frame."""
    inside, own = [], []
    for length, extent, start in zip(
        frame_shape[:2], patch_shape[:2], (corner[1], corner[0]), strict=True
    ):
        low, high = min(max(start, 0), length), max(min(start + extent, length), 0)
        high = max(high, low)
        inside.append(slice(low, high))
        own.append(slice(low - start, high - start))
    return tuple(inside), tuple(own)


def _develop(
    image: np.ndarray, camera: Camera, rng: np.random.Generator, style: StreetStyle
) -> np.ndarray:
    """Light of the moment, tone curve, color cast, lens blur and sensor noise."""
    gain = 1 + rng.uniform(-style.light, style.light)
    curve = np.clip((np.arange(256) / 255) ** camera.gamma * gain * 255, 0, 255).astype(np.uint8)
    image = cv2.transform(cv2.LUT(image, curve), camera.color)
    image = cv2.GaussianBlur(image, (0, 0), camera.blur)
    height, width = image.shape[:2]
    y, x = rng.integers(0, 64, 2)
    grain = np.ascontiguousarray(camera.grain[y : y + height, x : x + width])
    return cv2.add(image, grain, dtype=cv2.CV_8U)
