from .hybrid_heads import HybridROIHeads
from .norm_aware import NormAwareOutputLayers
from .search_heads import SearchROIHeads
from .seqnet_heads import SeqNetROIHeads
from .shared_heads import NormAwareROIHeads, SharedROIHeads
from .tail_box_head import TailBoxHead

__all__ = [
    "HybridROIHeads",
    "NormAwareOutputLayers",
    "NormAwareROIHeads",
    "SearchROIHeads",
    "SeqNetROIHeads",
    "SharedROIHeads",
    "TailBoxHead",
]
