"""Things that stand in a place and can hide people: painters of one object at X, Z."""

import numpy as np

from person_search.street.canvas import Canvas


def lamp(canvas: Canvas, x: float, z: float) -> None:
    """A street lamp."""
    canvas.wall(z, (x - 0.06, x + 0.06), (0, 0.3), (52, 58, 62))
    canvas.wall(z, (x - 0.03, x + 0.03), (0, 2.6), (64, 70, 74))
    canvas.wall(z, (x - 0.16, x + 0.16), (2.56, 2.62), (52, 58, 62))
    canvas.disc((x, 2.78, z), 0.17, (250, 238, 196))
    canvas.wall(z, (x - 0.14, x + 0.14), (2.9, 2.97), (52, 58, 62))


def litter_bin(canvas: Canvas, x: float, z: float) -> None:
    """A litter bin."""
    canvas.wall(z, (x - 0.15, x + 0.15), (0, 0.5), (62, 102, 82))
    canvas.wall(z, (x + 0.05, x + 0.15), (0, 0.5), (48, 84, 66))
    canvas.wall(z, (x - 0.18, x + 0.18), (0.5, 0.57), (44, 74, 60))
    canvas.wall(z, (x - 0.09, x + 0.05), (0.24, 0.36), (226, 226, 216))


def planter(canvas: Canvas, x: float, z: float) -> None:
    """A stone pot with a bush."""
    canvas.solid([(x - 0.34, 0.4, z), (x + 0.34, 0.4, z), (x + 0.26, 0, z), (x - 0.26, 0, z)],
                 (176, 164, 150))  # fmt: skip
    canvas.wall(z, (x - 0.37, x + 0.37), (0.36, 0.43), (196, 186, 172))
    rng = np.random.default_rng(int(z * 100))
    for tone in (-20, 0, 18):
        for _ in range(7):
            center = (x + rng.uniform(-0.27, 0.27), 0.5 + rng.uniform(0, 0.2) + tone / 250, z)
            canvas.disc(center, rng.uniform(0.09, 0.13), np.array((80, 130, 70)) + tone)


def bollard(canvas: Canvas, x: float, z: float) -> None:
    """A short post."""
    canvas.wall(z, (x - 0.065, x + 0.065), (0, 0.5), (72, 76, 84))
    canvas.wall(z, (x - 0.065, x + 0.065), (0.34, 0.42), (232, 226, 214))
    canvas.disc((x, 0.5, z), 0.065, (72, 76, 84))


def bench(canvas: Canvas, x: float, z: float) -> None:
    """A wooden bench."""
    for side in (-0.55, 0.47):
        canvas.wall(z, (x + side, x + side + 0.08), (0, 0.42), (70, 70, 74))
    for low in (0.25, 0.34, 0.43):
        canvas.wall(z, (x - 0.65, x + 0.65), (low, low + 0.065), (168, 116, 72))
    canvas.wall(z - 0.1, (x - 0.66, x + 0.66), (0.19, 0.24), (186, 132, 84))


def traffic_sign(canvas: Canvas, x: float, z: float) -> None:
    """A traffic sign."""
    canvas.wall(z, (x - 0.028, x + 0.028), (0, 1.6), (150, 154, 158))
    canvas.disc((x, 1.6, z), 0.24, (240, 240, 240))
    canvas.disc((x, 1.6, z), 0.215, (44, 98, 172))
    canvas.wall(z, (x - 0.05, x + 0.05), (1.46, 1.75), (240, 240, 240))


def car(canvas: Canvas, x: float, z: float) -> None:
    """A parked car from the side."""
    rgb = ((178, 60, 56), (70, 110, 150), (214, 206, 190))[int(abs(x) * 7) % 3]
    body = [(-1.25, 0.2), (-1.27, 0.46), (-1.15, 0.53), (-0.78, 0.56), (-0.46, 0.85), (0.42, 0.85),
            (0.8, 0.56), (1.18, 0.49), (1.27, 0.4), (1.25, 0.2)]  # fmt: skip
    canvas.solid([(x + dx, y, z) for dx, y in body], rgb)
    low = [(-1.25, 0.2), (-1.27, 0.34), (1.27, 0.34), (1.25, 0.2)]
    canvas.solid([(x + dx, y, z) for dx, y in low], np.array(rgb) * 0.8)
    for glass in ([(-0.68, 0.57), (-0.42, 0.79), (-0.06, 0.79), (-0.06, 0.57)],
                  [(0.02, 0.57), (0.02, 0.79), (0.37, 0.79), (0.68, 0.57)]):  # fmt: skip
        canvas.solid([(x + dx, y, z) for dx, y in glass], (150, 178, 192))
    for wheel in (-0.76, 0.78):
        canvas.disc((x + wheel, 0.19, z), 0.2, (40, 40, 44))
        canvas.disc((x + wheel, 0.19, z), 0.1, (176, 178, 180))
    canvas.wall(z, (x + 1.14, x + 1.26), (0.38, 0.45), (248, 230, 160))
    canvas.wall(z, (x - 1.27, x - 1.18), (0.4, 0.47), (196, 60, 56))
