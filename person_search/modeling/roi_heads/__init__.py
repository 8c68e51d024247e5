from .search_heads import SearchROIHeads

__all__ = ["SearchROIHeads"]
