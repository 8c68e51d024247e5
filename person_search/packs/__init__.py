"""Packs: models that are ready to use, in one folder each, and need neither torch nor detectron2.

    from person_search import packs

    packs.get(packs.RECOMMENDED)
    searcher = packs.open_pack(packs.RECOMMENDED)
    (persons,) = searcher.detect([picture])

docs/packs.md describes ``pack.yaml`` and the ready packs.
"""

from .catalog import RECOMMENDED, cache_folder, find_ready, ready
from .fetching import get
from .making import make
from .opening import find_pack, open_pack
from .runtime import PROVIDERS
from .spec import PackSpec

__all__ = [
    "PROVIDERS",
    "RECOMMENDED",
    "PackSpec",
    "cache_folder",
    "find_pack",
    "find_ready",
    "get",
    "make",
    "open_pack",
    "ready",
]
