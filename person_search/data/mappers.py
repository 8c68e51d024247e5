"""The registry of mappers: from a record of a data set to the input of a model."""

from fvcore.common.registry import Registry

from ..registry import look_up

MAPPER_REGISTRY = Registry("MAPPER")
MAPPER_REGISTRY.__doc__ = """
Dataset mappers, chosen by ``INPUT.MAPPER``. The registered class is called with
``(cfg, is_train)``; its instances map a record to a model input. Its attribute ``source`` is the
``DATALOADER.SOURCE`` whose records it maps.
"""


def build_mapper(cfg, is_train: bool):
    """The mapper that ``INPUT.MAPPER`` names."""
    return look_up(MAPPER_REGISTRY, cfg.INPUT.MAPPER, "INPUT.MAPPER")(cfg, is_train)
