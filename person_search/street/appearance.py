"""Who people are: the attributes that make one drawn person differ from another."""

from dataclasses import dataclass, replace

import numpy as np

TOP_COLORS = (
    "red", "orange", "yellow", "green", "teal", "blue", "navy", "purple", "pink", "white", "gray",
    "black", "beige",
)  # fmt: skip
BOTTOM_COLORS = (
    "denim", "denim", "navy", "black", "black", "gray", "beige", "brown", "white", "red", "green",
)  # fmt: skip
HAIR_COLORS = ("black", "black", "brown", "brown", "blond", "auburn", "silver")
SKIN_COLORS = ("skin light", "skin tan", "skin brown", "skin dark")
BAG_COLORS = ("red", "black", "brown", "green", "blue", "yellow")
HAT_COLORS = ("red", "navy", "beige", "black", "green", "white")
MARK_COLORS = ("white", "black", "red", "yellow", "blue", "green", "pink", "orange")
SHOE_COLORS = ("white", "black", "red", "blue", "yellow", "green", "brown")
PATTERNS = ("horizontal", "vertical", "diagonal", "band", "dots", "checks")
LOGOS = ("disc", "ring", "square", "triangle", "star", "heart", "cross", "diamond")

CLASHES = {
    frozenset(pair)
    for pair in (
        ("white", "beige"), ("white", "yellow"), ("white", "gray"), ("white", "pink"),
        ("black", "navy"), ("navy", "blue"), ("blue", "purple"), ("blue", "teal"),
        ("green", "teal"), ("red", "orange"), ("red", "pink"), ("orange", "yellow"),
        ("orange", "pink"), ("yellow", "beige"), ("gray", "teal"), ("black", "purple"),
        ("green", "gray"), ("blue", "gray"), ("pink", "beige"), ("navy", "green"),
        ("navy", "purple"), ("skin brown", "brown"), ("skin brown", "auburn"),
        ("skin dark", "brown"), ("skin dark", "auburn"), ("skin tan", "blond"),
    )
}  # fmt: skip
"""Pairs of colors that cannot be told apart on a small figure; no mark is drawn in such a pair."""


@dataclass(frozen=True)
class Coarse:
    """What one sees from afar. Colors are names of ``style.COLORS``.

    Attributes:
        height: relative to the average person.
        girth: relative width of the body.
    """

    top: str
    garment: str
    bottom: str
    bottom_kind: str
    hair: str
    hair_kind: str
    hat: str
    hat_kind: str
    bag: str
    bag_kind: str
    skin: str
    height: float
    girth: float


@dataclass(frozen=True)
class Fine:
    """What one sees only from near, and from every side.

    Attributes:
        pattern: kind of the pattern of the top, or "plain".
        pattern_width: width of a stripe, as a share of the body height.
        logo: shape of the badge on chest, back and sleeves, or "none".
        accent: color of the collar and of the hat band.
    """

    pattern: str
    pattern_width: float
    pattern_color: str
    logo: str
    logo_color: str
    shoes: str
    accent: str

    @property
    def cues(self) -> tuple[tuple, ...]:
        """The four things that one can look at: pattern, badge, shoes, collar and hat band."""
        pattern = (self.pattern, self.pattern_width, self.pattern_color)
        return pattern, (self.logo, self.logo_color), (self.shoes,), (self.accent,)


@dataclass(frozen=True)
class Appearance:
    """One person's looks, and the number of the look-alike group it belongs to (None: unique)."""

    coarse: Coarse
    fine: Fine
    group: int | None = None


def sample_appearance(rng: np.random.Generator) -> Appearance:
    """A person drawn from the whole space of attributes."""
    coarse = _sample_coarse(rng)
    return Appearance(coarse, _sample_fine(rng, coarse))


def sample_appearances(rng: np.random.Generator, count: int) -> list[Appearance]:
    """``count`` different persons; half of them in groups of 2 to 4 look-alikes.

    Members of a group share every coarse attribute and differ pairwise in at least two fine cues,
    one of which is the pattern or the badge. No two groups or single persons share all their
    coarse attributes.
    """
    people: list[Appearance] = []
    seen: set[Coarse] = set()
    groups = 0
    while len(people) < count:
        coarse = _sample_coarse(rng)
        if coarse in seen:
            continue
        seen.add(coarse)
        alike = sum(person.group is not None for person in people)
        size = min(int(rng.integers(2, 5)), count - len(people))
        if size < 2 or alike + size / 2 > count / 2:
            people.append(Appearance(coarse, _sample_fine(rng, coarse)))
            continue
        members: list[Fine] = []
        while len(members) < size:
            fine = _sample_fine(rng, coarse)
            if all(_tell_apart(fine, other) for other in members):
                members.append(fine)
        people += [Appearance(coarse, fine, groups) for fine in members]
        groups += 1
    order = rng.permutation(count)
    return [people[i] for i in order]


def _tell_apart(a: Fine, b: Fine) -> bool:
    differ = [one != other for one, other in zip(a.cues, b.cues, strict=True)]
    return sum(differ) >= 2 and (differ[0] or differ[1])


def _sample_coarse(rng: np.random.Generator) -> Coarse:
    top, skin = _pick(rng, TOP_COLORS), _pick(rng, SKIN_COLORS, (4, 3, 2, 2))
    coarse = Coarse(
        top=top,
        garment=_pick(rng, ("t-shirt", "pullover", "coat"), (0.4, 0.4, 0.2)),
        bottom=_pick(rng, tuple(c for c in BOTTOM_COLORS if c != top)),
        bottom_kind=_pick(rng, ("trousers", "shorts", "skirt"), (0.6, 0.2, 0.2)),
        hair=_pick(rng, _apart(HAIR_COLORS, skin)),
        hair_kind=_pick(rng, ("short", "long", "bun", "ponytail", "bald"), (4, 3, 1, 1.5, 0.5)),
        hat=_pick(rng, HAT_COLORS),
        hat_kind=_pick(rng, ("none", "cap", "beanie", "brim"), (0.64, 0.12, 0.12, 0.12)),
        bag=_pick(rng, BAG_COLORS),
        bag_kind=_pick(rng, ("none", "backpack", "shoulder", "tote"), (0.42, 0.26, 0.18, 0.14)),
        skin=skin,
        height=float(rng.choice((0.92, 1.0, 1.08))),
        girth=float(rng.choice((0.88, 1.0, 1.16))),
    )
    # Attributes that nobody can see must not tell two persons apart.
    if coarse.hat_kind == "none":
        coarse = replace(coarse, hat="none")
    if coarse.bag_kind == "none":
        coarse = replace(coarse, bag="none")
    if coarse.hair_kind == "bald":
        coarse = replace(coarse, hair="none")
    return coarse


def _sample_fine(rng: np.random.Generator, coarse: Coarse) -> Fine:
    pattern = _pick(rng, ("plain", *PATTERNS), (2.6, 2, 1, 1, 1, 0.7, 0.7))
    logo = _pick(rng, ("none", *LOGOS), (2.6, *[1.0] * len(LOGOS)))
    if pattern == "plain" and logo == "none":
        logo = _pick(rng, LOGOS)
    marks = _apart(MARK_COLORS, coarse.top)
    pattern_color = "none" if pattern == "plain" else _pick(rng, marks)
    logo_color = "none"
    if logo != "none":
        logo_color = _pick(rng, _apart(marks, pattern_color))
    return Fine(
        pattern=pattern,
        pattern_width=0.0 if pattern == "plain" else float(rng.choice((0.028, 0.046))),
        pattern_color=pattern_color,
        logo=logo,
        logo_color=logo_color,
        shoes=_pick(rng, SHOE_COLORS),
        accent=_pick(rng, _apart(_apart(MARK_COLORS, coarse.top), coarse.hat)),
    )


def _apart(colors: tuple[str, ...], other: str) -> tuple[str, ...]:
    """The colors that stand out against another one."""
    return tuple(c for c in colors if c != other and frozenset((c, other)) not in CLASHES)


def _pick(rng: np.random.Generator, values: tuple[str, ...], weights=None) -> str:
    share = None if weights is None else np.asarray(weights) / np.sum(weights)
    return values[int(rng.choice(len(values), p=share))]
