from .binet_style import BINetStyle
from .dkd_style import DKDStyle
from .hybrid_pretrainer import HybridPretrainer
from .person_search_rcnn import PersonSearchRCNN
from .reid_baseline import ReIDBaseline

__all__ = ["BINetStyle", "DKDStyle", "HybridPretrainer", "PersonSearchRCNN", "ReIDBaseline"]
