"""Who a person is: how exports write it, and how they write that it is nobody.

What may be a name or a word for nobody is not guessed: the user says it.
"""

import math
import re
import unicodedata
from collections.abc import Iterable
from typing import Any, NamedTuple

from .annotated import PersonId

_UNSURE = frozenset(
    "unknown unk none null nil nan n/a na undefined __undefined__ unidentified unlabeled "
    "unlabelled unnamed nobody noone anonymous anon other others background ignore "
    "? ?? - --".split()
)
"""Words that may say "nobody", or may be a name."""

_MOST_EXACT = 2**53
"""Floats beyond it cannot tell neighboring numbers apart."""


class Words(NamedTuple):
    """Words and numbers that a user gave for ``--nobody`` or ``--somebody``.

    Attributes:
        words: in lower case.
        beginnings: of words, in lower case.
        first: numbers from this one on; None: none.
    """

    words: frozenset[str] = frozenset()
    beginnings: tuple[str, ...] = ()
    first: int | None = None

    @classmethod
    def of(cls, texts: Iterable[str]) -> "Words":
        """What a user wrote: "unknown" and "5555" are themselves, "unknown*" is all that begins so,
        "5555+" is 5555 and every number after it.
        """
        texts = [text.strip().lower() for text in texts]
        ranges = [int(text[:-1]) for text in texts if re.fullmatch(r"\d+\+", text)]
        beginnings = tuple(text[:-1] for text in texts if text.endswith("*") and len(text) > 1)
        return cls(frozenset(texts), beginnings, min(ranges, default=None))

    def has(self, person: PersonId) -> bool:
        """Whether a person is called so."""
        text = str(person).lower()
        if text in self.words or (self.beginnings and text.startswith(self.beginnings)):
            return True
        return self.first is not None and isinstance(person, int) and person >= self.first


def read_identity(value: Any) -> PersonId | None:
    """A person id as it is written in an export.

    3 and 3.0 are 3. Null, NaN, "" and every negative number (-1 of most programs, -2 of PRW), also
    as text ("-1", "-1.0"), are nobody in particular. Any other text is a name: "3" is not 3.

    Raises:
        ValueError: it is anything else: true, 3.5, a list.
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, str):
        text = unicodedata.normalize("NFC", value).strip()
        is_nobody = not text or re.fullmatch(r"-\d+(\.0*)?", text)
        return None if is_nobody else text
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"person {str(value)[:40]}: expected a whole number or a text")
    if isinstance(value, float) and (abs(value) >= _MOST_EXACT or value != int(value)):
        raise ValueError(f"person {value!r}: expected a whole number or a text")
    return int(value) if value >= 0 else None


def unsure_word(person: PersonId) -> str | None:
    """How a user would name what may be a person or a word for nobody; None for any other name.

    Nobodies may be numbered: "unknown_12" gives "unknown*".
    """
    if not isinstance(person, str):
        return None
    if person.lower() in _UNSURE:
        return person
    stem = re.sub(r"[\s_#.-]*\d+$", "", person)
    return f"{stem}*" if stem.lower() in _UNSURE and stem.isalpha() else None
