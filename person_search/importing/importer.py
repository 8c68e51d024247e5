"""From the inputs of a user to frames with settled persons: what the command does first."""

import os
from collections import Counter, defaultdict
from itertools import chain
from pathlib import Path

from person_search.errors import ConfigError

from . import values
from .annotated import Frame
from .formats import FORMATS, mot
from .naming import keep_apart, name_after
from .persons import check_identities, check_twice, merge_spellings, nobody_is_named
from .reading import Reading


def read_inputs(source: str, inputs: list[str], reading: Reading) -> dict[str, list[Frame]]:
    """Name of each input -> its frames.

    Args:
        source: a name of ``FORMATS``.
        inputs: files, folders or names, as the format takes them.
        reading: the user's options; gets what is wrong.
    """
    form = FORMATS[source]
    if source == "registered":
        return {name: form.read(Path(name), reading) for name in inputs}
    paths = [path for text in inputs for path in form.expand(Path(text))]
    if source == "mot":
        paths = _once_each(paths)
    frames = {
        name: form.read(path, reading)
        for name, path in zip(distinct_names(paths), paths, strict=True)
    }
    reading.finish()
    return frames


def _once_each(paths: list[Path]) -> list[Path]:
    """Raises ConfigError where a recording of MOTChallenge stands there for two detectors."""
    first: dict[str, Path] = {}
    for path in paths:
        known = first.setdefault(mot.recording(path), path)
        if known != path:
            raise ConfigError(f"{path} is the recording of {known} again: take one of them")
    return paths


def distinct_names(paths: list[Path]) -> list[str]:
    """What tells inputs apart: their paths below the deepest common folder, without suffix."""
    if len(set(paths)) < len(paths):
        raise ConfigError(f"{Counter(paths).most_common(1)[0][0]} stands there twice")
    if len(paths) == 1:
        return [paths[0].stem]
    whole = [path.absolute() for path in paths]
    common = os.path.commonpath([path.parent for path in whole])
    names = [path.relative_to(common).with_suffix("").as_posix() for path in whole]
    if len(set(names)) < len(names):
        names = [path.relative_to(common).as_posix() for path in whole]
    return names


def split_by_inputs(
    groups: dict[str, list[Frame]], inputs: list[str], valid: str | None
) -> dict[str, list[Frame]]:
    """Frames with the split that the folder or the name of their input says.

    Args:
        groups: name of the input -> its frames.
        inputs: the inputs as the user gave them, which say the split where the names do not.
        valid: where inputs of validation go: "train", "test" or "none"; None: nobody said so.

    Raises:
        ConfigError: an input says no split, or is one of validation.
    """
    found = {}
    for number, (name, frames) in enumerate(groups.items()):
        texts = [name, inputs[number]] if len(inputs) == len(groups) else [name]
        parts = [part for text in texts for part in reversed(Path(text).with_suffix("").parts)]
        split = next((s for part in parts if (s := values.split_of(part)) is not None), None)
        if split is None:
            raise ConfigError(
                f"the input {name} does not say whether it is for training or testing: with "
                "--split files, a folder or the file is called train, valid or test"
            )
        found[name] = [frame._replace(split=split) for frame in frames]
    return {name: place_valid(frames, valid) for name, frames in found.items()}


def place_valid(frames: list[Frame], valid: str | None) -> list[Frame]:
    """Frames whose split is train or test alone.

    Raises:
        ConfigError: some are of validation, and nobody said where these go.
    """
    number = sum(frame.split == "valid" for frame in frames)
    if number and valid is None:
        raise ConfigError(
            f"{number} frames are for validation: say --valid train, --valid test, or --valid none "
            "to leave them out"
        )
    if valid == "none":
        return [frame for frame in frames if frame.split != "valid"]
    return [f._replace(split=valid) if f.split == "valid" else f for f in frames]


def settle_persons(
    source: str,
    groups: dict[str, list[Frame]],
    reading: Reading,
    *,
    shared: bool | None,
    spelling: str | None,
    twice: str | None,
) -> list[Frame]:
    """All frames in one numbering of persons, after all checks of who is who.

    Args:
        source: a name of ``FORMATS``.
        groups: name of the input -> its frames.
        reading: gets what is wrong.
        shared: whether an id is the same person in all inputs; None: nobody said so.
        spelling: "exact": each spelling is a person of its own | "loose": 003 and "3" are 3, Anna
            is anna | None: a fault where it matters.
        twice: see :func:`~.persons.check_twice`.
    """
    if FORMATS[source].are_tracks and shared is None:
        shared = False  # a track counts in its video alone
    if spelling == "loose":
        groups = {name: [merge_spellings(f) for f in frames] for name, frames in groups.items()}
    if twice is None and source == "registered":
        twice = "keep"
    settled = []
    for name, frames in keep_apart(groups, shared, reading).items():
        somebody, exact = reading.options.somebody, spelling == "exact"
        check_identities(frames, reading.faults, somebody, exact, reading.are_tracks)
        frames = check_twice(frames, reading, twice)
        settled += name_after(name, frames)
    repeated = sum(len(found) - 1 for frame in settled for found in _twice_in(frame).values())
    if repeated:
        reading.note(f"{repeated} boxes are of a person who stands in the same frame twice")
    if (fault := nobody_is_named(settled)) is not None:
        reading.faults.append(fault)
    return settled


def _twice_in(frame: Frame) -> dict:
    found = defaultdict(list)
    for box in frame.boxes:
        if box.person_id is not None and not box.ignore:
            found[box.person_id].append(box)
    return found


def every_nth(frames: list[Frame], number: int) -> list[Frame]:
    """Of each camera the first frame and every ``number``-th after it, by time, then as listed."""
    by_camera = defaultdict(list)
    for index, frame in enumerate(frames):
        by_camera[frame.camera].append(index)
    kept = set()
    for indices in by_camera.values():
        if all(frames[i].time is not None for i in indices):
            indices.sort(key=lambda i: frames[i].time or 0)
        kept.update(indices[::number])
    return [frame for index, frame in enumerate(frames) if index in kept]


def count_taken(frames: list[Frame], reading: Reading) -> None:
    """Adds to the tally what is in these frames, once all of them are checked."""
    boxes = list(chain.from_iterable(frame.boxes for frame in frames))
    persons = [box for box in boxes if not box.ignore]
    reading.tally.take("pictures", len(frames))
    reading.tally.take("boxes", len(persons))
    reading.tally.take("regions to ignore", len(boxes) - len(persons))
    reading.tally.take("identities", sum(box.person_id is not None for box in persons))
