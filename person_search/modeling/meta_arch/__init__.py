from .person_search_rcnn import PersonSearchRCNN
from .reid_baseline import ReIDBaseline

__all__ = ["PersonSearchRCNN", "ReIDBaseline"]
