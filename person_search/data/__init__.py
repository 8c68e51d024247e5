from person_search.protocols import GalleryLists, GalleryRule, SearchProtocol

from . import readers  # noqa: F401  (registers the data sets)
from .build import check_dataset_names, load_train_records, select_protocols
from .crop_mappers import CropMapper, SelfSupervisedCropMapper
from .hybrid_mapper import HybridMapper
from .mappers import MAPPER_REGISTRY, PersonSearchMapper, build_mapper
from .sources import build_test_loader, build_train_loader, count_train_samples

__all__ = [
    "MAPPER_REGISTRY",
    "CropMapper",
    "GalleryLists",
    "GalleryRule",
    "HybridMapper",
    "PersonSearchMapper",
    "SearchProtocol",
    "SelfSupervisedCropMapper",
    "build_mapper",
    "build_test_loader",
    "build_train_loader",
    "check_dataset_names",
    "count_train_samples",
    "load_train_records",
    "select_protocols",
]
