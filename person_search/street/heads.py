"""Heads: face, hair and hat of a figure."""

import numpy as np

from person_search.street.appearance import Appearance, Coarse
from person_search.street.sketch import Sketch, smooth


def draw_back_hair(sketch: Sketch, coarse: Coarse, lift: float) -> None:
    """The hair that hangs behind the neck; ``lift`` is how much higher the body stands."""
    if coarse.hair_kind == "long":
        center = sketch.view(0, -0.03, 0.9 + lift)
        wide, end = sketch.half_width(0.066, 0.045), 0.145
    elif coarse.hair_kind == "ponytail":
        center = sketch.view(0, -0.068, 0.91 + lift)
        wide, end = 0.022, 0.12
    else:
        return
    outline = smooth([
        (-wide, 0.02), (wide, 0.02), (1.1 * wide, -0.08), (0.75 * wide, -end),
        (-0.75 * wide, -end), (-1.1 * wide, -0.08),
    ])  # fmt: skip
    sketch.shape(center + outline, coarse.hair)


def draw_head(sketch: Sketch, person: Appearance, lift: float) -> None:
    """Head, face, hair of the head and hat; ``lift`` is how much higher the body stands."""
    coarse = person.coarse
    center = sketch.view(0, 0.014, 0.918 + lift)
    hair = coarse.hair_kind != "bald"
    if hair:
        back = sketch.view(0, -0.004, 0.924 + lift)
        if coarse.hair_kind == "bun":
            sketch.oval(back + sketch.view(0, -0.035, 0.062), (0.03, 0.03), coarse.hair)
        sketch.oval(back, (0.061, 0.072), coarse.hair)
    if hair and sketch.cos < -0.45:
        sketch.oval(center - (0, 0.058), (0.036, 0.02), coarse.skin, 0.92, line=0)
        sketch.oval(center, (0.059, 0.062), coarse.hair, line=0)
    else:
        sketch.oval(center, (0.054, 0.066), coarse.skin)
        if sketch.cos > -0.3:
            _face(sketch, coarse, center)
        if hair:
            _fringe(sketch, coarse, center)
    _hat(sketch, person, center)


def _face(sketch: Sketch, coarse: Coarse, center: np.ndarray) -> None:
    for turn in (-0.42, 0.42):
        sin = sketch.sin * np.cos(turn) + sketch.cos * np.sin(turn)
        if sketch.cos * np.cos(turn) - sketch.sin * np.sin(turn) > 0.1:
            sketch.oval(center + (0.047 * sin, -0.002), (0.0065, 0.0095), "black", line=0)
    nose = center + (0.053 * sketch.sin, -0.017)
    sketch.oval(nose, (0.009, 0.009), coarse.skin, 0.93, line=0)
    if sketch.cos > 0.1:
        mouth = center + (0.046 * sketch.sin, -0.038)
        sketch.oval(mouth, (0.013 * sketch.cos + 0.003, 0.0045), "red", 0.8, line=0)


def _fringe(sketch: Sketch, coarse: Coarse, center: np.ndarray) -> None:
    """The hair above the forehead, and at the back of a head seen from the side."""
    turn = np.linspace(0, np.pi, 14)
    arch = np.stack((0.06 * np.cos(turn), 0.07 * np.sin(turn)), axis=1)
    low = np.array([(-0.05, 0.03), (-0.01, 0.036), (0.05, 0.03)])
    if abs(sketch.sin) > 0.5:
        back = -np.sign(sketch.sin)
        low = np.array([(-back * 0.05, 0.034), (back * 0.005, 0.03), (back * 0.03, -0.03)])
        low = low[np.argsort(low[:, 0])]
    shift = -0.007 * sketch.sin
    outline = np.concatenate((arch + (shift, 0.004), low + (shift, 0)))
    sketch.shape(center + outline, coarse.hair, line=0)


def _hat(sketch: Sketch, person: Appearance, center: np.ndarray) -> None:
    kind, color = person.coarse.hat_kind, person.coarse.hat
    if kind == "none":
        return
    turn = np.linspace(0, np.pi, 16)
    tall = 0.085 if kind == "brim" else 0.075
    dome = np.stack((0.066 * np.cos(turn), 0.024 + tall * np.sin(turn) ** 0.8), axis=1)
    sketch.shape(center + dome, color)
    band = np.array([(-0.067, 0.05), (0.067, 0.05), (0.067, 0.02), (-0.067, 0.02)])
    sketch.shape(center + band, person.fine.accent)
    if kind == "brim":
        sketch.oval(center + (0, 0.022), (0.108, 0.014), color)
    if kind == "cap" and sketch.cos > -0.4:
        visor = center + (0.07 * sketch.sin, 0.026)
        sketch.oval(visor, (0.05 + 0.01 * abs(sketch.sin), 0.011), color)
