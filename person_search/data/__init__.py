from . import readers  # noqa: F401  (registers the data sets)
from .build import build_test_loader, build_train_loader, count_train_samples
from .catalog import check_dataset_names, select_protocols
from .crops import CropMapper, SelfSupervisedCropMapper
from .frames import PersonSearchMapper, load_train_records
from .hybrid import HybridMapper
from .mappers import MAPPER_REGISTRY, build_mapper

__all__ = [
    "MAPPER_REGISTRY",
    "CropMapper",
    "HybridMapper",
    "PersonSearchMapper",
    "SelfSupervisedCropMapper",
    "build_mapper",
    "build_test_loader",
    "build_train_loader",
    "check_dataset_names",
    "count_train_samples",
    "load_train_records",
    "select_protocols",
]
