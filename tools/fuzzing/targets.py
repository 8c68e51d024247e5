"""All targets by name."""

from . import data, galleries, media, models

TARGETS = {
    "pictures": media.PICTURES,
    "films": media.FILMS,
    "containers": media.CONTAINERS,
    "exports": data.EXPORTS,
    "datasets": data.DATA_SETS,
    "weights": models.WEIGHTS,
    "configs": models.CONFIG_FILES,
    "packs": models.PACKS,
    "results": models.RESULTS,
    "notes": galleries.NOTES,
    "galleries": galleries.GALLERIES,
}
