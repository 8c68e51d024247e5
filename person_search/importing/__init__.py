"""From one's own annotations to a data set that every config takes; docs/own_data.md.

``formats`` read exports into frames, ``checks`` and ``identities`` find what is wrong, ``split``
makes training and test sides, ``writing`` writes what every config takes.
"""

from .annotated import Box, Fault, Frame, Place
from .checks import check_frames
from .formats import FORMATS
from .importer import (
    count_taken,
    every_nth,
    place_valid,
    read_inputs,
    settle_persons,
    split_by_inputs,
)
from .naming import read_from_names
from .reading import Options, Reading
from .split import Sides, choose_queries, split_as_given, split_by_identity, split_by_time
from .writing import check_name, write_dataset

__all__ = [
    "FORMATS",
    "Box",
    "Fault",
    "Frame",
    "Options",
    "Place",
    "Reading",
    "Sides",
    "check_frames",
    "check_name",
    "choose_queries",
    "count_taken",
    "every_nth",
    "place_valid",
    "read_from_names",
    "read_inputs",
    "settle_persons",
    "split_as_given",
    "split_by_identity",
    "split_by_inputs",
    "split_by_time",
    "write_dataset",
]
