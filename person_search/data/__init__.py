from . import datasets  # noqa: F401  (registers the data sets)
from .build import (
    build_test_loader,
    build_train_loader,
    check_dataset_names,
    load_train_records,
    select_protocols,
)
from .mappers import MAPPER_REGISTRY, PersonSearchMapper, build_mapper
from .protocols import GalleryLists, GalleryRule, SearchProtocol

__all__ = [
    "MAPPER_REGISTRY",
    "GalleryLists",
    "GalleryRule",
    "PersonSearchMapper",
    "SearchProtocol",
    "build_mapper",
    "build_test_loader",
    "build_train_loader",
    "check_dataset_names",
    "load_train_records",
    "select_protocols",
]
