"""The engines that keep a gallery's rows, and which of them an address names."""

import os

from .base import Contents, GalleryIndex, GalleryModel

__all__ = ["Contents", "GalleryIndex", "GalleryModel", "open_gallery"]


def open_gallery(uri: str, model: GalleryModel | None = None) -> GalleryIndex:
    """Open a gallery, or, with a model, make it where there is none.

    Args:
        uri: ``http(s)://host:port`` is a Milvus server, a name that ends in ``.db`` a Milvus Lite
            file (for tests), ``memory:`` lives as long as the process, and any other a folder or
            an address in an object store (``s3://...``) that LanceDB keeps.
        model: what makes the embeddings that will be written or searched with.

    Raises:
        GalleryError: there is no gallery, it cannot be read, or it is of another model.
    """
    if uri.startswith(("http://", "https://")) or uri.endswith(".db"):
        from .milvus import MilvusIndex

        return MilvusIndex(uri, model)
    if uri == "memory:":
        from .exact import ExactIndex

        return ExactIndex(uri, model)
    from .lance import LanceIndex

    return LanceIndex(uri if "://" in uri else os.path.abspath(uri), model)
