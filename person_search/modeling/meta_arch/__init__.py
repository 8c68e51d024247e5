from . import binet_style, dkd_style, hybrid, person_search_rcnn, reid_baseline  # noqa: F401  (registers)
