from . import (  # noqa: F401  (registers)
    align_ps,
    binet_style,
    dkd_style,
    hybrid,
    person_search_rcnn,
    reid_baseline,
    sequential,
)
