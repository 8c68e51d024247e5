"""Fetching the files of ready packs: checked by hash, resumed, kept in one folder."""

import errno
import os
import shutil
from pathlib import Path

from person_search.errors import PackError
from person_search.files import optional_module

from .catalog import ENVIRONMENT, cache_folder, find_ready, ready, with_hashes
from .spec import FILE_NAME, PackSpec

_BLOCK, _SECONDS = 2**18, 30


def get(name: str, progress: bool = False) -> str:
    """Have a ready pack on this machine; what is there already is not fetched again.

    Args:
        name: of :func:`.catalog.ready`.
        progress: show a bar per file.

    Returns:
        what :func:`.opening.open_pack` takes.

    Raises:
        PackError: no such pack; no network, or a file that nobody offers for download (the message
            says which files to put where); another hash; a full disk.
    """
    if name not in ready():
        raise PackError(f"no ready pack {name}; there are {', '.join(ready())}")
    found = find_ready(name)
    if found is None:
        spec, folder = ready()[name], cache_folder() / name
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for file in spec.files:
                _get_file(spec, file, folder, progress)
            with_hashes(spec, folder).write(folder)
        except OSError as error:
            raise _cannot_write(spec, folder, error) from error
        found = spec, folder
    return str(found[1]) if (found[1] / FILE_NAME).is_file() else name


def by_hand(spec: PackSpec, folder: Path) -> str:
    """Which files to put where, for a machine without a network; one line."""
    files = ", ".join(f"{name} ({entry.url or spec.home})" for name, entry in spec.files.items())
    return f"put these files into {folder} by hand, then do the same again: {files}"


def _get_file(spec: PackSpec, name: str, folder: Path, progress: bool) -> None:
    entry, path = spec.files[name], folder / name
    if path.is_file():
        return
    beside = folder.parent / name
    if beside.is_file():  # put there by hand
        shutil.copyfile(beside, path)
        return
    if not entry.url:
        needs = f" ({spec.needs})" if spec.needs else ""
        raise PackError(f"{name} cannot be fetched{needs}: {by_hand(spec, folder)}")
    pooch = optional_module("pooch", "packs", PackError)
    requests = optional_module("requests", "packs", PackError)
    pooch.get_logger().setLevel("ERROR")
    known = f"sha256:{entry.sha256[0]}" if entry.sha256 else None
    try:
        pooch.retrieve(
            entry.url, known, fname=name, path=folder, downloader=_Resuming(folder, progress)
        )
    except requests.RequestException as error:
        raise PackError(
            f"{entry.url} cannot be fetched ({type(error).__name__}): {by_hand(spec, folder)}"
        ) from error
    except ValueError as error:  # pooch says so of another hash
        raise PackError(
            f"{entry.url} gave another file than {known}: do the same again; if it stays so, the "
            "file at that address has changed"
        ) from error


class _Resuming:
    """What pooch downloads with: goes on where an earlier try was cut off.

    Args:
        folder: where the part that is there already is kept.
        progress: show a bar.
    """

    def __init__(self, folder: Path, progress: bool):
        self.folder, self.progress = folder, progress

    def __call__(self, url: str, output_file: str, _) -> None:
        requests = optional_module("requests", "packs", PackError)
        from tqdm import tqdm

        part = self.folder / f"{url.rsplit('/', 1)[-1]}.part"
        start = part.stat().st_size if part.is_file() else 0
        headers = {"Range": f"bytes={start}-"} if start else {}
        with requests.get(url, headers=headers, stream=True, timeout=_SECONDS) as answer:
            if answer.status_code == requests.codes.requested_range_not_satisfiable:
                start = 0  # the part is whole or of another file: the hash decides
            else:
                answer.raise_for_status()
                is_rest = answer.status_code == requests.codes.partial_content
                start = start if is_rest else 0
                total = int(answer.headers.get("Content-Length", 0)) + start or None
                bar = {"total": total, "initial": start, "unit": "B", "unit_scale": True}
                with (
                    open(part, "ab" if is_rest else "wb") as file,
                    tqdm(desc=part.stem, disable=not self.progress, **bar) as shown,
                ):
                    for block in answer.iter_content(_BLOCK):
                        file.write(block)
                        shown.update(len(block))
        os.replace(part, output_file)


def _cannot_write(spec: PackSpec, folder: Path, error: OSError) -> PackError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        need = sum(entry.size or 0 for entry in spec.files.values()) / 1e6
        size = f"it takes {need:.0f} MB" if need else "make room"
        return PackError(
            f"the disk of {folder} is full: {size}; or name another folder with {ENVIRONMENT}. The "
            "same command goes on where it stopped"
        )
    return PackError(
        f"{folder} cannot be written ({error.strerror or error}): name another folder with "
        f"{ENVIRONMENT}"
    )
