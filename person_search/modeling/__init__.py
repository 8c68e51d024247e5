from . import backbone, meta_arch, reid, roi_heads  # noqa: F401  (registers the parts)
