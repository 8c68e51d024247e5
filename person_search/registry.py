"""Looking up what a user named: in a registry, or in the catalogs of data sets."""

from detectron2.data import DatasetCatalog, MetadataCatalog
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


def count_identities(name: str) -> int:
    """The number of identities of a registered data set, which is loaded if it was not yet.

    Raises:
        ConfigError: its metadata does not say it.
    """
    DatasetCatalog.get(name)
    number = MetadataCatalog.get(name).get("num_person_ids", None)
    if number is None:
        raise ConfigError(
            f"the metadata of the data set {name} lacks num_person_ids: set "
            f"MetadataCatalog.get({name!r}).num_person_ids to the number of its identities, whose "
            "person_id count from 0"
        )
    return number
