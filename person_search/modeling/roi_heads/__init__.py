from . import hybrid_heads, search_heads, seqnet_heads, shared_heads, tail_box_head  # noqa: F401  (registers)
