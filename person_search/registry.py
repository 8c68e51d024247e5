"""Looking up a name that a user gave in a registry."""

from fvcore.common.registry import Registry

from person_search.errors import ConfigError


def look_up(registry: Registry, name: str, key: str) -> object:
    """The object registered as ``name``.

    Args:
        registry: where to look.
        name: what the config says.
        key: the config key that says it.

    Raises:
        ConfigError: nothing of that name, with the names that there are.
    """
    if name not in registry:
        legal = ", ".join(sorted(known for known, _ in registry))
        raise ConfigError(f"{key} is {name!r}; legal: {legal}")
    return registry.get(name)
