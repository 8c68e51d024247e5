"""The list of ready packs, and where their files are on this machine.

Each one is a ``pack.yaml`` in the folder ``ready`` beside this module, whose files lie elsewhere.
"""

import os
from dataclasses import replace
from functools import cache
from pathlib import Path

from person_search.errors import PackError

from .files import file_hash
from .spec import FILE_NAME, PackFile, PackSpec, parse_spec, read_spec

RECOMMENDED = "yolox-nano-osnet-x0.25"
"""What is taken where nobody names a model."""

ENVIRONMENT = "PERSON_SEARCH_PACKS"


@cache
def ready() -> dict[str, PackSpec]:
    """Name -> spec of every ready pack, the recommended one first."""
    folder = Path(__file__).parent / "ready"
    specs = [parse_spec(p.read_text("utf-8"), p.name) for p in sorted(folder.glob("*.yaml"))]
    specs.sort(key=lambda spec: spec.name != RECOMMENDED)
    return {spec.name: spec for spec in specs}


def cache_folder() -> Path:
    """Where packs are kept: ``PERSON_SEARCH_PACKS``, or the user's cache folder."""
    if os.environ.get(ENVIRONMENT):
        return Path(os.environ[ENVIRONMENT]).expanduser()
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "person_search" / "packs"


def find_ready(name: str) -> tuple[PackSpec, Path] | None:
    """A ready pack that is on this machine: its spec and the folder of its files, or None.

    It is a folder of its name below :func:`cache_folder`, which :func:`.fetching.get` makes. Files
    that somebody put there by hand, or straight into :func:`cache_folder`, do as well if their
    hashes are known.
    """
    spec, folder = ready()[name], cache_folder()
    if (folder / name / FILE_NAME).is_file():
        return read_spec(folder / name), folder / name
    for place in (folder / name, folder):
        if all((place / file).is_file() for file in spec.files):
            return with_hashes(spec, place), place
    return None


def with_hashes(spec: PackSpec, folder: Path) -> PackSpec:
    """The spec with the hashes of the files that are in a folder, which must be known ones.

    Raises:
        PackError: a file has another hash than those that are known.
    """
    files = {}
    for name, entry in spec.files.items():
        digest = file_hash(folder / name)
        if entry.sha256 and digest not in entry.sha256:
            known = " or ".join(text[:16] + "..." for text in entry.sha256)
            raise PackError(
                f"{folder / name} is not the file of the pack {spec.name}: its sha256 is "
                f"{digest[:16]}..., not {known}; get that one, or make a pack of your own of it: "
                "person-search models make"
            )
        files[name] = PackFile(sha256=(digest,), url=entry.url, size=entry.size, note=entry.note)
    return replace(spec, files=files)
