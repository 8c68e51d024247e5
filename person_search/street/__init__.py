"""Street: a person search data set that is drawn from a seed, in the file layouts of real ones."""

from person_search.street.domains import DOMAINS, draw_domain
from person_search.street.schedule import STREET_SIZES
from person_search.street.street import draw_street

__all__ = ["DOMAINS", "STREET_SIZES", "draw_domain", "draw_street"]
