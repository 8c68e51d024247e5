from . import crop, mrfp, roi  # noqa: F401  (registers the poolers)
