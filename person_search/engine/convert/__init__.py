"""Weights of other code: recognized by their names, converted in memory, or refused.

Nothing is loaded half, into another part of a network, or under other conventions of pixels,
strides, anchors and RoIs than those it was trained with.
"""

from .fitting import refuse_misfit
from .public import PublicFile
from .recognize import recognize

__all__ = ["PublicFile", "recognize", "refuse_misfit"]
