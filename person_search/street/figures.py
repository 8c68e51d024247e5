"""Draws one posed person as a picture with transparency.

A figure is a small three-dimensional skeleton that is turned by its yaw and looked at from the
front. Units are body heights: l to the person's left, f forwards, y up from the ground.

Shape shorthand in this module:
    h, w: height and width of a figure's patch in pixels
"""

from dataclasses import dataclass

import cv2
import numpy as np

from person_search.street.appearance import Appearance
from person_search.street.heads import draw_back_hair, draw_head
from person_search.street.marks import logo_outline
from person_search.street.sketch import SIDE, TOP, Sketch, smooth


@dataclass(frozen=True)
class Pose:
    """How somebody stands.

    Attributes:
        yaw: radians; 0 faces the viewer, pi / 2 walks to the right of the picture.
        phase: radians in the walking cycle.
        stride: length of the steps; 0 stands still, 1 walks briskly.
    """

    yaw: float
    phase: float
    stride: float


@dataclass(frozen=True, eq=False)
class Figure:
    """A drawn person.

    Attributes:
        patch: (h, w, 4) uint8 BGR and alpha, colors multiplied by alpha; cut to the figure.
        foot: (x, y) of the point on the ground below the body, in the patch.
    """

    patch: np.ndarray
    foot: tuple[int, int]


def draw_figure(person: Appearance, pose: Pose, height: float) -> Figure:
    """Draws a person.

    Args:
        person: looks; ``person.coarse.height`` scales ``height``.
        pose: view and step.
        height: height of an average person in pixels.
    """
    height *= person.coarse.height
    oversampling = 4 if height < 90 else 3 if height < 180 else 2
    sketch = Sketch(height * oversampling, pose.yaw)
    _Body(person, pose, sketch).draw()
    size = (round(2 * SIDE * height), round(TOP * height))
    patch = cv2.resize(sketch.canvas, size, interpolation=cv2.INTER_AREA)
    light = np.linspace(1.07, 0.86, size[0], dtype=np.float32)[:, None].repeat(4, axis=1)
    light[:, 3] = 1.0
    patch = np.minimum(patch * light, patch[..., 3:]).astype(np.uint8)
    x, y, w, h = cv2.boundingRect((patch[..., 3] > 127).view(np.uint8))
    foot = (round(SIDE * height) - x, round(TOP * height) - y)
    return Figure(patch[y : y + h, x : x + w], foot)


class _Body:
    """One person in one pose, part by part from the far ones to the near ones."""

    def __init__(self, person: Appearance, pose: Pose, sketch: Sketch) -> None:
        self.person, self.coarse, self.fine = person, person.coarse, person.fine
        self.pose, self.sketch = pose, sketch
        self.girth = person.coarse.girth
        self.lift = 0.0
        self.lift = -min(self._leg(side)[2][2] for side in (-1, 1)) + 0.045
        self.facing = sketch.cos

    def draw(self) -> None:
        """Paints all parts."""
        sketch = self.sketch
        arms = sorted((-1, 1), key=self._arm_depth)
        legs = sorted((-1, 1), key=self._leg_depth)
        if self.facing > -0.25:
            self._backpack()
            draw_back_hair(sketch, self.coarse, self.lift)
        for side in arms:
            if self._arm_depth(side) < -0.05:
                self._draw_arm(side, 0.86)
        for side, tone in zip(legs, (0.82, 1.0), strict=True):
            self._draw_leg(side, tone)
        self._skirt()
        self._torso()
        draw_head(sketch, self.person, self.lift)
        if self.facing <= -0.25:
            draw_back_hair(sketch, self.coarse, self.lift)
            self._backpack()
        for side in arms:
            if self._arm_depth(side) >= -0.05:
                self._draw_arm(side, 1.0)
        self._shoulder_bag()

    # Joints ---------------------------------------------------------------------------------

    def _arm_depth(self, side: int) -> float:
        return self.sketch.depth(side * 0.11, 0.0)

    def _leg_depth(self, side: int) -> float:
        _, knee, ankle = self._leg(side)
        return self.sketch.depth(side * 0.05, (knee[1] + ankle[1]) / 2)

    def _leg(self, side: int) -> list[tuple[float, float, float]]:
        """(l, f, y) of hip, knee and ankle."""
        swing = self.pose.phase + (0 if side > 0 else np.pi)
        thigh = 0.52 * self.pose.stride * np.sin(swing)
        bend = 0.06 + self.pose.stride * 0.95 * max(0.0, np.cos(swing)) ** 1.5
        left = side * 0.052 * self.girth
        hip = (left, 0.0, 0.5 + self.lift)
        knee = (left, 0.23 * np.sin(thigh), hip[2] - 0.23 * np.cos(thigh))
        shin = thigh - bend
        ankle = (left * 0.9, knee[1] + 0.225 * np.sin(shin), knee[2] - 0.225 * np.cos(shin))
        return [hip, knee, ankle]

    def _arm(self, side: int) -> list[tuple[float, float, float]]:
        """(l, f, y) of shoulder, elbow and hand."""
        swing = self.pose.phase + (np.pi if side > 0 else 0)
        upper = 0.55 * self.pose.stride * np.sin(swing)
        fore = upper + 0.2 + 0.35 * self.pose.stride
        if side < 0 and self.coarse.bag_kind == "tote":
            upper, fore = 0.06, 0.1
        left = side * 0.108 * self.girth
        shoulder = (left, 0.0, 0.775 + self.lift)
        elbow = (left + side * 0.022, 0.16 * np.sin(upper), shoulder[2] - 0.16 * np.cos(upper))
        hand = (
            elbow[0] + side * 0.004,
            elbow[1] + 0.15 * np.sin(fore),
            elbow[2] - 0.15 * np.cos(fore),
        )
        return [shoulder, elbow, hand]

    # Parts ----------------------------------------------------------------------------------

    def _draw_leg(self, side: int, tone: float) -> None:
        sketch, coarse, girth = self.sketch, self.coarse, self.girth
        hip, knee, ankle = self._leg(side)
        points = [sketch.view(*joint) for joint in (hip, knee, ankle)]
        radii = (0.058 * girth, 0.040 * girth, 0.028)
        towards_viewer = sketch.cos > 0.3
        if not towards_viewer:
            self._shoe(ankle, tone)
        cloth = coarse.bottom if coarse.bottom_kind == "trousers" else coarse.skin
        sketch.limb(points, radii, cloth, tone)
        if coarse.bottom_kind == "shorts":
            sketch.limb(points[:2], (radii[0], 0.046 * girth), coarse.bottom, tone)
        if towards_viewer:
            self._shoe(ankle, tone)

    def _shoe(self, ankle: tuple[float, float, float], tone: float) -> None:
        left, forward, up = ankle
        heel = self.sketch.view(left, forward - 0.018, up - 0.012)
        toe = self.sketch.view(left, forward + 0.062, up - 0.022)
        self.sketch.limb((heel, toe), (0.034, 0.027), self.fine.shoes, tone)
        ends = sorted((heel[0] - 0.03, heel[0] + 0.03, toe[0] - 0.022, toe[0] + 0.022))
        sole = np.array([(ends[0], 0), (ends[-1], 0), (ends[-1], 0.01), (ends[0], 0.01)])
        self.sketch.shape(sole + (0, up - 0.045), "white", 0.9 * tone, line=0)

    def _skirt(self) -> None:
        if self.coarse.bottom_kind != "skirt":
            return
        knees = [self.sketch.view(*self._leg(side)[1])[0] for side in (-1, 1)]
        waist = self._half_width(0.085, 0.062)
        hem = self._half_width(0.12, 0.09)
        up = self.lift
        outline = [
            (-waist, 0.58 + up), (waist, 0.58 + up), (max(hem, max(knees) + 0.05), 0.3 + up),
            (0.3 * (knees[0] + knees[1]), 0.285 + up), (min(-hem, min(knees) - 0.05), 0.3 + up),
        ]  # fmt: skip
        self.sketch.shape(outline, self.coarse.bottom)

    def _half_width(self, across: float, deep: float) -> float:
        """Half the width of this body, as seen, where its cross-section is this ellipse."""
        return self.girth * self.sketch.half_width(across, deep)

    def _torso(self) -> None:
        sketch, coarse, up = self.sketch, self.coarse, self.lift
        hem = 0.34 if coarse.garment == "coat" else 0.475
        rows = [(0.845, 0.03, 0.03), (0.825, 0.088, 0.045), (0.79, 0.122, 0.06),
                (0.74, 0.118, 0.074), (0.6, 0.096, 0.066), (0.5, 0.108, 0.076),
                (hem, 0.112 if hem > 0.4 else 0.13, 0.08 if hem > 0.4 else 0.1)]  # fmt: skip
        lean = 0.012 * self.pose.stride
        right = [
            (self._half_width(a, d) + lean * (y - 0.5) / 0.3 * sketch.sin, y + up)
            for y, a, d in rows
        ]
        left = [
            (-self._half_width(a, d) + lean * (y - 0.5) / 0.3 * sketch.sin, y + up)
            for y, a, d in rows
        ]
        neck = sketch.view(0, 0.006, 0.85 + up)
        sketch.limb((neck, neck + (0, 0.05)), (0.028, 0.026), coarse.skin, 0.9)
        sketch.shape(smooth(right + left[::-1]), coarse.top, pattern=self.fine)
        if coarse.garment == "coat" and self.facing > 0.2:
            line = [sketch.view(0, 0.09, y + up) for y in (0.83, hem)]
            sketch.limb(line, (0.002, 0.002), coarse.top, 0.6)
        if abs(self.facing) > 0.25 and not (self.facing < 0 and coarse.bag_kind == "backpack"):
            front = 0.055 if self.facing > 0 else -0.055
            self._logo(sketch.view(0, front, 0.715 + up), 0.055, abs(self.facing))
        if coarse.bag_kind == "backpack" and self.facing > 0.2:
            for side in (-1, 1):
                ends = [sketch.view(side * 0.07 * self.girth, 0.03, y + up) for y in (0.825, 0.62)]
                sketch.limb(ends, (0.012, 0.012), coarse.bag)
        collar = sketch.view(0, 0.004, 0.842 + up)
        sketch.oval(collar, (0.043, 0.017), self.fine.accent)

    def _logo(self, center: np.ndarray, radius: float, squeeze: float) -> None:
        if self.fine.logo == "none":
            return
        outline = logo_outline(self.fine.logo) * (radius * max(squeeze, 0.55), radius)
        sketch, center = self.sketch, np.asarray(center)
        sketch.shape(center + outline, self.fine.logo_color, line=0.6)
        if self.fine.logo == "ring":
            sketch.shape(center + 0.5 * outline, self.coarse.top, line=0)

    def _draw_arm(self, side: int, tone: float) -> None:
        sketch, coarse, girth = self.sketch, self.coarse, self.girth
        shoulder, elbow, hand = (sketch.view(*joint) for joint in self._arm(side))
        if side < 0 and coarse.bag_kind == "tote":
            self._tote(hand, tone)
        sketch.oval(hand - (0, 0.008), (0.021, 0.025), coarse.skin, tone)
        bare = coarse.garment == "t-shirt"
        joints, radii = [shoulder, elbow, hand], [0.040 * girth, 0.031 * girth, 0.022]
        if bare:
            sketch.limb(joints, (0.028, 0.026, 0.020), coarse.skin, tone)
            joints = [shoulder, shoulder + 0.75 * (elbow - shoulder)]
            radii = [radii[0], 0.036 * girth]
        sketch.limb(joints, radii, coarse.top, tone, self.fine)
        if tone == 1.0:
            self._logo(shoulder + 0.5 * (elbow - shoulder), 0.03, 1.0)

    def _tote(self, hand: np.ndarray, tone: float) -> None:
        wide = self._half_width(0.045, 0.09)
        x, y = hand
        self.sketch.shape(
            [(x - 0.5 * wide, y - 0.09), (x, y), (x + 0.5 * wide, y - 0.09), (x, y - 0.02)],
            self.coarse.bag, 0.7 * tone,
        )  # fmt: skip
        outline = [
            (x - wide, y - 0.08), (x + wide, y - 0.08),
            (x + 0.88 * wide, y - 0.21), (x - 0.88 * wide, y - 0.21),
        ]  # fmt: skip
        self.sketch.shape(outline, self.coarse.bag, tone)

    def _backpack(self) -> None:
        if self.coarse.bag_kind != "backpack":
            return
        sketch = self.sketch
        center = sketch.view(0, -0.1, 0.675 + self.lift)
        wide = self._half_width(0.094, 0.052)
        outline = smooth([
            (-wide, 0.1), (-0.5 * wide, 0.145), (0.5 * wide, 0.145), (wide, 0.1),
            (1.05 * wide, -0.12), (0.8 * wide, -0.14), (-0.8 * wide, -0.14), (-1.05 * wide, -0.12),
        ])  # fmt: skip
        sketch.shape(center + outline, self.coarse.bag)
        pocket = center + outline * (0.72, 0.4) + (0, -0.07)
        sketch.shape(pocket, self.fine.accent)
        if self.facing < -0.25:
            self._logo(center + (0, 0.045), 0.048, abs(self.facing))

    def _shoulder_bag(self) -> None:
        if self.coarse.bag_kind != "shoulder":
            return
        sketch, up = self.sketch, self.lift
        bag = sketch.view(0.125 * self.girth, 0.0, 0.5 + up)
        across = sketch.view(-0.07 * self.girth, 0.0, 0.825 + up)
        sketch.limb((across, bag + (0, 0.05)), (0.008, 0.008), self.coarse.bag, 0.8)
        if sketch.depth(0.125, 0.0) < -0.07:
            return
        wide = self._half_width(0.035, 0.075)
        outline = np.array([(-wide, 0.055), (wide, 0.055), (wide, -0.05), (-wide, -0.05)])
        sketch.shape(bag + outline, self.coarse.bag)
        sketch.shape(bag + outline * (1, 0.45) + (0, 0.032), self.coarse.bag, 0.82)
