"""Person search for detectron2.

What has to do with models is loaded, and the parts are registered, when one of the names below is
asked for: half of the commands of ``person-search`` need neither torch nor detectron2.
"""

__all__ = ["add_person_search_config", "find_config", "read_config"]


def __getattr__(name: str):
    if name in __all__:
        from . import config

        return getattr(config, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
