"""Patterns of tops and shapes of badges: the fine cues that tell look-alikes apart."""

import numpy as np


def pattern_mask(pattern: str, width: float, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Where a pattern has its second color.

    Args:
        pattern: one of ``appearance.PATTERNS``.
        width: width of a stripe in body heights.
        x, y: (w,) and (h,) positions in body heights; x from the middle of the body, y up.

    Returns:
        (h, w) bool.
    """
    period = 2.4 * width
    across, up = x[None, :], y[:, None]
    if pattern == "horizontal":
        return ((up % period) < width) & (across == across)
    if pattern == "vertical":
        return (((across + width / 2) % period) < width) & (up == up)
    if pattern == "diagonal":
        return ((across + up) % (1.3 * period)) < 1.3 * width
    if pattern == "band":
        return (np.abs(up - 0.65) < 1.2 * width) & (across == across)
    if pattern == "checks":
        return (((across + width / 2) % period) < width) ^ ((up % period) < width)
    shift = np.where((up // (1.1 * period)) % 2 < 1, 0.0, 0.55 * period)
    dx = (across + shift) % (1.1 * period) - 0.55 * period
    dy = up % (1.1 * period) - 0.55 * period
    return dx**2 + dy**2 < (0.75 * width) ** 2


def logo_outline(logo: str) -> np.ndarray:
    """(N, 2) outline of a badge, x to the right and y up, inside the unit circle."""
    if logo in ("disc", "ring"):
        return _star(24, 1.0)
    if logo == "square":
        return 0.8 * np.array([(-1.0, -1), (1, -1), (1, 1), (-1, 1)])
    if logo == "diamond":
        return np.array([(0.0, -1.1), (0.75, 0), (0, 1.1), (-0.75, 0)])
    if logo == "triangle":
        return np.array([(-0.95, -0.75), (0.95, -0.75), (0.0, 0.95)])
    if logo == "star":
        return 1.15 * _star(5, 0.45)
    if logo == "cross":
        arm = np.array([(-0.33, 0.33), (-0.33, 1), (0.33, 1), (0.33, 0.33)])
        quarter = np.array([(0, -1), (1, 0)])
        return np.concatenate([arm @ np.linalg.matrix_power(quarter, k) for k in range(4)])
    turn = np.linspace(0, 2 * np.pi, 32, endpoint=False)
    heart_y = 13 * np.cos(turn) - 5 * np.cos(2 * turn) - 2 * np.cos(3 * turn) - np.cos(4 * turn)
    return np.stack((16 * np.sin(turn) ** 3, heart_y + 2), axis=1) / 15.5


def _star(points: int, inner: float) -> np.ndarray:
    """A star whose notches lie at ``inner`` of its radius; with 1 it is a regular polygon."""
    turn = np.pi / 2 + np.arange(2 * points) * np.pi / points
    radius = np.where(np.arange(2 * points) % 2 == 0, 1.0, inner)
    return np.stack((radius * np.cos(turn), radius * np.sin(turn)), axis=1)
