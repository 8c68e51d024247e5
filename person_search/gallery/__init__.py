"""Searching one's own pictures and videos: index them, then look for a person."""

from .engines import GalleryIndex, GalleryModel, open_gallery
from .persons import Filter, Hit, Persons

__all__ = [
    "Filter",
    "GalleryIndex",
    "GalleryModel",
    "Hit",
    "PersonSearcher",
    "Persons",
    "open_gallery",
]


def __getattr__(name: str):
    """``PersonSearcher`` is loaded when it is asked for: a gallery alone needs no model."""
    if name == "PersonSearcher":
        from .searcher import PersonSearcher

        return PersonSearcher
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
