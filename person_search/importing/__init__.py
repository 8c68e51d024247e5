"""From one's own annotations to a data set that every config takes; docs/own_data.md."""

from .annotated import Box, Fault, Frame, Place
from .checks import check_frames
from .coco import read_coco
from .crops import read_crops
from .mot import read_mot
from .naming import common_folder, keep_apart, read_from_names
from .registered import read_registered
from .split import Sides, choose_queries, split_as_given, split_by_identity, split_by_time
from .voc import read_voc
from .writing import check_name, write_dataset

__all__ = [
    "Box",
    "Fault",
    "Frame",
    "Place",
    "Sides",
    "check_frames",
    "check_name",
    "choose_queries",
    "common_folder",
    "keep_apart",
    "read_coco",
    "read_crops",
    "read_from_names",
    "read_mot",
    "read_registered",
    "read_voc",
    "split_as_given",
    "split_by_identity",
    "split_by_time",
    "write_dataset",
]
