from . import (  # noqa: F401  (registers the parts)
    anchors,
    backbone,
    embedders,
    identity,
    meta_arch,
    roi_heads,
)
