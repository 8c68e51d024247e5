from . import convnext, resnet, shufflenet  # noqa: F401  (registers the architectures)
from .split import (
    SPLIT_ARCHITECTURE_REGISTRY,
    STAGES,
    SplitArchitecture,
    build_split_architecture,
    build_split_backbone,
)

__all__ = [
    "SPLIT_ARCHITECTURE_REGISTRY",
    "STAGES",
    "SplitArchitecture",
    "build_split_architecture",
    "build_split_backbone",
]
