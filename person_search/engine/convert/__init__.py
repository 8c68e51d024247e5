"""Weights of other code: recognized by their names, converted in memory, or refused.

Nothing is loaded half, into another part of a network, or under other conventions of pixels,
strides, anchors and RoIs than those it was trained with.
"""

from .conventions import adopt_conventions
from .fitting import refuse_misfit
from .recognize import recognize
from .recognized import OF_TRUNKS, Recognized

__all__ = ["OF_TRUNKS", "Recognized", "adopt_conventions", "recognize", "refuse_misfit"]
