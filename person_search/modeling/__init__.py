from . import backbone, embedders, identity, meta_arch, roi_heads  # noqa: F401  (registers the parts)
