"""How a drawn street looks: colors, light and sensor. One value of StreetStyle is one domain."""

from dataclasses import dataclass, field

COLORS = {
    "red": (196, 48, 46), "orange": (232, 126, 44), "yellow": (240, 200, 66),
    "green": (70, 146, 78), "teal": (44, 146, 150), "blue": (58, 112, 196),
    "navy": (38, 50, 94), "purple": (124, 76, 152), "pink": (232, 138, 164),
    "white": (240, 238, 232), "gray": (144, 148, 154), "black": (42, 42, 48),
    "brown": (120, 80, 52), "beige": (206, 184, 150), "denim": (82, 104, 138),
    "blond": (222, 188, 112), "auburn": (142, 66, 38), "silver": (190, 190, 194),
    "skin light": (242, 206, 178), "skin tan": (216, 166, 126), "skin brown": (158, 106, 74),
    "skin dark": (104, 68, 50),
}  # fmt: skip
"""RGB of every color name that an appearance may hold."""


@dataclass(frozen=True)
class CameraLook:
    """What one camera does to the colors of the scene.

    Attributes:
        gains: multipliers of red, green and blue.
        saturation: 1 keeps the colors, 0 makes them gray.
        gamma: exponent on values in 0..1; above 1 darkens the middle tones.
    """

    gains: tuple[float, float, float]
    saturation: float = 1.0
    gamma: float = 1.0


@dataclass(frozen=True)
class StreetStyle:
    """Everything that may differ between two domains of drawn streets.

    Attributes:
        looks: the color look of camera 1, 2, ...
        look_jitter: relative change of the gains by the seed.
        light: relative change of brightness from frame to frame.
        person_light: relative change of brightness from person to person.
        noise: standard deviation of the sensor noise, in gray levels.
        blur: range of the Gaussian blur of a camera, in pixels per 480 lines of frame height.
        jpeg_quality: quality of the written frames.
        shadow: opacity of the shadows on the ground.
        passers_by: share of the people that have no identity.
    """

    looks: tuple[CameraLook, ...] = field(
        default=(
            CameraLook((1.01, 1.00, 0.98), 1.00, 0.98),
            CameraLook((0.94, 0.99, 1.04), 0.94, 1.03),
            CameraLook((1.06, 1.00, 0.93), 0.98, 1.02),
            CameraLook((0.97, 1.01, 0.97), 0.91, 0.94),
            CameraLook((0.96, 0.93, 0.98), 0.96, 1.10),
            CameraLook((1.02, 0.98, 1.00), 0.88, 0.92),
        )
    )
    look_jitter: float = 0.03
    light: float = 0.06
    person_light: float = 0.05
    noise: float = 3.0
    blur: tuple[float, float] = (0.35, 0.75)
    jpeg_quality: int = 90
    shadow: float = 0.38
    passers_by: float = 0.18


DAY = StreetStyle()


def _everywhere(look: CameraLook) -> tuple[CameraLook, ...]:
    return (look,) * len(DAY.looks)


NOON = StreetStyle(
    looks=_everywhere(CameraLook((1.10, 1.05, 0.94), 1.25, 0.80)), look_jitter=0.06, shadow=0.6
)
NIGHT = StreetStyle(
    looks=_everywhere(CameraLook((0.62, 0.68, 0.90), 0.55, 1.35)),
    look_jitter=0.08,
    light=0.15,
    noise=9.0,
    blur=(0.8, 1.3),
    shadow=0.1,
)
DUSK = StreetStyle(
    looks=_everywhere(CameraLook((1.05, 0.82, 0.66), 0.85, 1.15)), look_jitter=0.06, noise=5.0
)
FOG = StreetStyle(
    looks=_everywhere(CameraLook((1.02, 1.04, 1.06), 0.40, 0.62)),
    look_jitter=0.04,
    blur=(0.9, 1.5),
    shadow=0.05,
)
WEB = StreetStyle(look_jitter=0.15, light=0.2, person_light=0.15, jpeg_quality=35)
"""Looks of other domains; see person_search.street.domains."""
