"""Person search for detectron2. Importing the package registers its parts and data sets."""

from . import modeling  # noqa: F401
from .config import add_person_search_config, read_config

__all__ = ["add_person_search_config", "read_config"]
