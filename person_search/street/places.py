"""The six places of the street world, painted on a canvas in scene coordinates."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from person_search.street.canvas import Canvas
from person_search.street.objects import (
    bench,
    bollard,
    car,
    lamp,
    litter_bin,
    planter,
    traffic_sign,
)


@dataclass(frozen=True)
class Place:
    """A place.

    Attributes:
        horizon, person, far: of its ``Lens``.
        paint: paints the background.
        objects: (painter, X, Z) of each object that can hide people.
    """

    horizon: float
    person: float
    far: float
    paint: Callable[[Canvas], None]
    objects: tuple[tuple[Callable[[Canvas, float, float], None], float, float], ...]


def _paving(canvas: Canvas, rgb, line, x, z, step: float = 0.6) -> None:
    """A floor with joints."""
    canvas.floor(x, z, rgb)
    tone = canvas.rng.uniform(-9, 9, (200, 200))
    for i, left in enumerate(np.arange(x[0], x[1], step)):
        for j, near in enumerate(np.arange(z[0], z[1], step)):
            if near > 14:
                break
            shade = np.array(rgb) + tone[i % 200, j % 200]
            canvas.floor((left, left + step), (near, min(near + step, z[1])), shade)
    for near in np.arange(z[0], z[1], step):
        canvas.floor(x, (near, near + 0.02 + 0.0015 * near**1.2), line)
    for left in np.arange(x[0], x[1], step):
        canvas.floor((left, left + 0.03), z, line)


def _windows(canvas, z, x, y, columns, rows, glass, frame) -> None:
    """A grid of windows on a wall."""
    wide, tall = (x[1] - x[0]) / columns, (y[1] - y[0]) / rows
    for i in range(columns):
        for j in range(rows):
            left, low = x[0] + (i + 0.22) * wide, y[0] + (j + 0.2) * tall
            right, high = left + 0.56 * wide, low + 0.62 * tall
            shine = np.array(glass) + canvas.rng.uniform(-22, 22)
            canvas.wall(z, (left - 0.05, right + 0.05), (low - 0.07, high + 0.05), frame)
            canvas.wall(z, (left, right), (low, high), shine)
            middle = (left + right) / 2
            canvas.solid(
                [(left, low, z), (middle, low, z), (right, high, z), (middle, high, z)], shine + 14
            )
            canvas.wall(z, (middle - 0.015, middle + 0.015), (low, high), frame)


def _tree(canvas: Canvas, x: float, z: float, tall: float = 3.2, leaf=(78, 128, 66)) -> None:
    """A round tree."""
    canvas.wall(z, (x - 0.09, x + 0.09), (0, 0.6 * tall), (96, 74, 54))
    canvas.wall(z, (x + 0.02, x + 0.09), (0, 0.6 * tall), (78, 60, 44))
    rng = np.random.default_rng(int(abs(x) * 100 + z * 10))
    for tone, lift, count in ((-26, -0.1, 9), (0, 0.0, 9), (18, 0.12, 7)):
        for _ in range(count):
            turn, far = rng.uniform(0, 2 * np.pi), rng.uniform(0.1, 0.26) * tall
            center = (x + far * np.cos(turn), 0.74 * tall + (0.7 * far * np.sin(turn)) + lift, z)
            canvas.disc(center, rng.uniform(0.08, 0.13) * tall, np.array(leaf) + tone)


def _shop(canvas: Canvas, z: float, x: tuple[float, float], rgb, awning, board) -> None:
    """A house with a shop window, an awning and a sign."""
    rng = canvas.rng
    canvas.wall(z, x, (0, 7), rgb)
    canvas.wall(z, x, (2.36, 2.46), np.array(rgb) * 0.8)
    _windows(canvas, z, (x[0] + 0.2, x[1] - 0.2), (2.6, 6.2), 3, 2, (92, 112, 128), (232, 228, 218))
    left, right = x[0] + 0.25, x[1] - 0.25
    door = right - 0.75
    canvas.wall(z, (left, door - 0.15), (0.3, 1.5), (70, 62, 56))
    canvas.wall(z, (left + 0.05, door - 0.2), (0.36, 1.45), (146, 168, 172))
    for k in np.linspace(left + 0.2, door - 0.5, 4):
        goods = rng.uniform(70, 220, 3)
        canvas.wall(z, (k, k + 0.22), (0.38, 0.38 + rng.uniform(0.25, 0.6)), goods)
    canvas.wall(z, (door, right), (0, 1.5), np.array(awning) * 0.62)
    canvas.wall(z, (door + 0.1, right - 0.1), (0.5, 1.4), (128, 150, 156))
    canvas.wall(z, (left, right), (1.92, 2.3), board)
    for k in np.arange(left + 0.35, right - 0.5, 0.24):
        canvas.wall(z, (k, k + 0.15), (2.02, 2.2), (244, 238, 222))
    edges = np.linspace(left - 0.08, right + 0.08, 10)
    for k in range(9):
        color = awning if k % 2 == 0 else (240, 234, 222)
        a, b = edges[k], edges[k + 1]
        canvas.solid([(a, 1.88, z), (b, 1.88, z), (b, 1.58, z - 0.5), (a, 1.58, z - 0.5)], color)
        canvas.disc(((a + b) / 2, 1.58, z - 0.5), (b - a) / 2, color)


def shop_street(canvas: Canvas) -> None:
    """A row of shops behind a pavement, a curb and a road."""
    canvas.gradient((150, 190, 226), (222, 232, 238), (0, canvas.lens.horizon + 0.05))
    z = 8.5
    houses = [
        ((-9.4, -5.6), (206, 172, 138), (176, 62, 58), (92, 52, 44)),
        ((-5.6, -1.9), (226, 212, 186), (58, 116, 104), (44, 70, 72)),
        ((-1.9, 1.9), (188, 108, 92), (214, 168, 76), (74, 50, 46)),
        ((1.9, 5.6), (222, 196, 170), (64, 94, 150), (50, 58, 92)),
        ((5.6, 9.4), (172, 184, 176), (190, 92, 70), (60, 66, 62)),
    ]
    for x, rgb, awning, board in houses:
        _shop(canvas, z, x, rgb, awning, board)
    _paving(canvas, (186, 178, 166), (158, 150, 140), (-12, 12), (2.7, z), 0.55)
    canvas.floor((-12, 12), (2.45, 2.7), (208, 204, 196))
    canvas.floor((-12, 12), (2.4, 2.45), (128, 124, 120))
    canvas.floor((-12, 12), (0.3, 2.4), (102, 102, 106))
    for left in np.arange(-10, 10, 1.3):
        canvas.floor((left, left + 0.7), (1.62, 1.7), (224, 222, 210))


def park(canvas: Canvas) -> None:
    """Lawn, trees and a path that leads to a far pavilion."""
    horizon = canvas.lens.horizon
    canvas.gradient((134, 184, 230), (226, 236, 238), (0, horizon + 0.02))
    for x, size, tone in ((-24, 9, 0), (-10, 7, 10), (3, 8, -6), (16, 10, 6), (30, 8, 0)):
        for k in range(5):
            center = (x + 3 * k - 6, 0.5 + 0.25 * size * ((k * 7) % 3), 60)
            canvas.disc(center, size * 0.55, np.array((112, 150, 118)) + tone)
    canvas.floor((-90, 90), (0.3, 62), (128, 166, 92))
    for j, near in enumerate(np.geomspace(1.2, 40, 18)):
        if j % 2:
            canvas.floor((-90, 90), (near, near * 1.215), (120, 158, 86))
    path = (214, 198, 166)
    canvas.solid([(-2.3, 0, 0.5), (2.6, 0, 0.5), (1.5, 0, 40), (-0.6, 0, 40)], (186, 172, 142))
    canvas.solid([(-2.15, 0, 0.5), (2.45, 0, 0.5), (1.4, 0, 40), (-0.5, 0, 40)], path)
    canvas.solid([(-90, 0, 9.2), (90, 0, 9.2), (90, 0, 10.4), (-90, 0, 10.4)], path)
    canvas.wall(30, (-5, 5), (0, 3), (228, 220, 206))
    for k in np.linspace(-4.6, 4.2, 7):
        canvas.wall(29.9, (k, k + 0.4), (0, 2.6), (246, 242, 232))
    canvas.solid([(-6, 3, 30), (6, 3, 30), (3.4, 4.8, 30), (-3.4, 4.8, 30)], (168, 86, 70))
    for x, z in ((-9, 20), (9, 18), (-13, 14), (14, 13), (-5.4, 12), (6.6, 11.4)):
        _tree(canvas, x, z, 3.8, (84, 138, 72) if x < 0 else (104, 146, 62))
    rng = canvas.rng
    for _ in range(60):
        x, z = rng.uniform(-9, 9), rng.uniform(2.2, 9)
        if abs(x - 0.2) > 3.0:
            color = ((236, 214, 90), (240, 240, 236), (222, 120, 140))[int(rng.integers(3))]
            canvas.disc((x, 0.05, z), 0.035, color)


def campus(canvas: Canvas) -> None:
    """A university front with columns and steps behind a paved square."""
    canvas.gradient((176, 200, 220), (226, 230, 232), (0, canvas.lens.horizon + 0.05))
    z = 15.0
    canvas.wall(z, (-30, 30), (0, 11), (196, 150, 122))
    for low in np.arange(0.2, 11, 0.28):
        canvas.wall(z, (-30, 30), (low, low + 0.03), (182, 136, 110))
    _windows(canvas, z, (-16, -4.2), (0.6, 7.8), 5, 3, (84, 104, 122), (238, 230, 214))
    _windows(canvas, z, (4.2, 16), (0.6, 7.8), 5, 3, (84, 104, 122), (238, 230, 214))
    front = z - 0.6
    canvas.wall(front, (-4, 4), (0, 4.4), (150, 116, 96))
    for left, right in ((-2.8, -1.6), (-0.8, 0.8), (1.6, 2.8)):
        canvas.wall(front, (left, right), (0.5, 2.8), (98, 66, 48))
        canvas.wall(front, (left + 0.12, right - 0.12), (0.6, 2.6), (120, 142, 150))
    for left in (-3.6, -1.5, 1.0, 3.1):
        canvas.wall(front - 0.3, (left, left + 0.5), (0.4, 4.2), (238, 230, 212))
        canvas.wall(front - 0.3, (left + 0.34, left + 0.5), (0.4, 4.2), (214, 204, 186))
    canvas.wall(front - 0.3, (-4.2, 4.2), (4.2, 4.7), (232, 222, 204))
    canvas.solid([(-4.4, 4.7, front), (4.4, 4.7, front), (0, 6.2, front)], (222, 212, 192))
    for k in range(4):
        edge = front - 0.4 - 0.35 * k
        stone = np.array((216, 208, 194)) - 12 * (k % 2)
        canvas.wall(edge, (-4.6, 4.6), (0, 0.5 - 0.11 * k), stone)
    _paving(canvas, (178, 172, 168), (150, 144, 142), (-16, 16), (0.6, 15), 0.9)
    canvas.floor((-16, -5.5), (8.6, 11.8), (110, 148, 86))
    canvas.floor((5.5, 16), (8.6, 11.8), (110, 148, 86))
    for x in (-9, -6.6, 6.8, 9.4):
        _tree(canvas, x, 10.5, 2.8, (96, 136, 74))


def crossing(canvas: Canvas) -> None:
    """A zebra crossing in front of a brick wall with posters."""
    canvas.gradient((186, 196, 206), (214, 218, 222), (0, canvas.lens.horizon + 0.05))
    z = 9.5
    canvas.wall(z, (-14, 14), (0, 6.5), (160, 84, 68))
    for j, low in enumerate(np.arange(0, 6.5, 0.16)):
        canvas.wall(z, (-14, 14), (low, low + 0.025), (186, 150, 132))
        for left in np.arange(-14 + 0.22 * (j % 2), 14, 0.44):
            if canvas.rng.random() < 0.3:
                tone = canvas.rng.uniform(-22, 18)
                brick = np.array((160, 84, 68)) + tone
                canvas.wall(z, (left, left + 0.4), (low + 0.03, low + 0.155), brick)
    for left, color in ((-7.4, (62, 120, 140)), (-5.6, (222, 178, 74)), (3.2, (196, 84, 76)),
                         (5.0, (94, 132, 88))):  # fmt: skip
        canvas.wall(z, (left - 0.06, left + 1.36), (0.74, 2.66), (236, 232, 222))
        canvas.wall(z, (left, left + 1.3), (0.8, 2.6), color)
        canvas.disc((left + 0.65, 1.85, z), 0.42, np.clip(np.array(color) + 46, 0, 255))
        for low in (0.95, 1.1):
            canvas.wall(z, (left + 0.15, left + 1.1), (low, low + 0.07), (244, 240, 230))
    canvas.wall(z, (-2.6, 1.8), (0, 2.9), (76, 78, 84))
    canvas.wall(z, (-2.45, 1.65), (0, 2.3), (42, 46, 54))
    canvas.wall(z, (-2.45, 1.65), (2.36, 2.8), (48, 96, 150))
    canvas.disc((-2.1, 2.58, z), 0.17, (240, 240, 240))
    canvas.wall(z, (-1.7, 1.3), (2.5, 2.64), (240, 240, 240))
    for k in range(5):
        canvas.wall(z, (-2.4, 1.6), (0.1 + 0.3 * k, 0.16 + 0.3 * k), (70, 74, 82))
    _paving(canvas, (168, 166, 164), (140, 138, 138), (-14, 14), (6.6, z), 0.5)
    canvas.floor((-14, 14), (6.35, 6.6), (206, 204, 198))
    canvas.floor((-14, 14), (0.4, 6.35), (96, 98, 104))
    for left in np.arange(-2.6, 3, 0.85):
        canvas.floor((left, left + 0.45), (0.6, 6.2), (226, 226, 220))
    for left in (-14, 4.4):
        canvas.floor((left, left + 10), (5.9, 6.0), (222, 196, 90))


def waterfront(canvas: Canvas) -> None:
    """Boards along a river, a railing, and a skyline on the other side."""
    horizon = canvas.lens.horizon
    canvas.gradient((244, 186, 140), (250, 222, 186), (0, horizon + 0.01))
    rng = canvas.rng
    left = -70.0
    while left < 70:
        wide, tall = rng.uniform(4, 9), rng.uniform(4, 17)
        tone = np.array((150, 132, 140)) + rng.uniform(-14, 14)
        canvas.wall(70, (left, left + wide), (0, tall), tone)
        for x in np.arange(left + 0.6, left + wide - 0.6, 1.2):
            for y in np.arange(1, tall - 1, 1.6):
                if rng.random() < 0.6:
                    canvas.wall(70, (x, x + 0.5), (y, y + 0.8), (248, 220, 156))
        left += wide * 0.9
    canvas.floor((-150, 150), (9, 70), (120, 142, 160))
    for _ in range(150):
        z = 9 + 55 * rng.random() ** 2
        x, wide = rng.uniform(-1.1, 1.1) * z, rng.uniform(0.4, 2.2)
        glint = np.array((168, 180, 186)) + rng.uniform(-25, 40)
        canvas.floor((x, x + wide), (z, z * 1.008), glint)
    canvas.floor((-20, 20), (0.4, 9), (170, 130, 96))
    for near in np.arange(0.4, 9, 0.32):
        tone = rng.uniform(-12, 12)
        canvas.floor((-20, 20), (near, near + 0.3), np.array((172, 134, 100)) + tone)
        canvas.floor((-20, 20), (near + 0.285, near + 0.32), (118, 88, 66))
    for low in (0.12, 0.36, 0.6):
        canvas.wall(8.9, (-20, 20), (low, low + 0.035), (84, 92, 100))
    for x in np.arange(-20, 20, 0.9):
        canvas.wall(8.88, (x, x + 0.07), (0, 0.7), (66, 72, 80))


def square_from_above(canvas: Canvas) -> None:
    """A square seen from a window: tiles, flower beds, a road with a crossing."""
    canvas.gradient((150, 148, 150), (150, 148, 150), (0, 1))
    _paving(canvas, (196, 186, 172), (170, 160, 148), (-7, 7), (1.0, 9), 0.42)
    for i in range(-8, 8):
        for j in range(0, 14):
            if (i + j) % 4 == 0:
                x, z = i * 0.84, 1 + j * 0.84
                canvas.floor((x, x + 0.42), (z, z + 0.42), (174, 132, 112))
    canvas.floor((-7, 7), (6.1, 6.22), (222, 218, 210))
    canvas.floor((-7, 7), (6.22, 12), (98, 100, 104))
    for x in np.arange(-0.9, 1.6, 0.42):
        canvas.floor((x, x + 0.22), (6.35, 7.9), (230, 228, 220))
    for x in (-6.4, -4.2, 2.6, 4.8):
        canvas.floor((x, x + 1.3), (7.05, 7.12), (228, 226, 216))
    rng = canvas.rng
    for x, z, radius in ((-1.9, 4.6, 0.62), (1.95, 4.9, 0.62)):
        canvas.disc((x, 0, z), radius * 1.12, (222, 214, 200), 0.52)
        canvas.disc((x, 0.04, z), radius, (96, 132, 74), 0.52)
        for _ in range(36):
            turn, far = rng.uniform(0, 2 * np.pi), radius * 0.85 * np.sqrt(rng.random())
            spot = (x + far * np.cos(turn), 0.08, z + 0.8 * far * np.sin(turn))
            color = ((214, 74, 84), (240, 206, 84), (238, 236, 230))[int(rng.integers(3))]
            canvas.disc(spot, 0.045, color)


PLACES = (
    Place(0.30, 0.74, 0.14, shop_street,
          ((lamp, -1.5, 2.9), (car, 2.0, 2.3), (litter_bin, 0.9, 3.6), (planter, -3.3, 5.6))),
    Place(0.34, 0.62, 0.13, park,
          ((bench, -1.9, 3.5), (lamp, 1.9, 3.6), (litter_bin, -3.1, 5.6))),
    Place(0.28, 0.55, 0.13, campus,
          ((planter, -1.8, 3.6), (planter, 2.0, 3.9), (lamp, 0.4, 5.6), (bollard, 1.0, 2.6))),
    Place(0.24, 0.80, 0.14, crossing,
          ((traffic_sign, -1.9, 4.0), (bollard, 0.95, 3.1), (car, 2.9, 5.2),
           (litter_bin, -2.8, 5.8))),
    Place(0.36, 0.68, 0.14, waterfront,
          ((bench, 1.25, 3.4), (lamp, -1.3, 3.6), (planter, 0.2, 5.4))),
    Place(-0.35, 0.50, 0.21, square_from_above,
          ((planter, -0.55, 3.2), (lamp, 1.25, 2.9), (bollard, 0.25, 4.4), (bollard, -0.3, 4.4))),
)  # fmt: skip
