"""Annotations and names of CrowdHuman, Market-1501 and LUPerson, as these data sets have them.

Drawn domains are written with it, and the look-alikes of the tests.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path


def write_odgt(root: Path, split: str, frames: Mapping[str, Sequence[dict]]) -> None:
    """CrowdHuman's annotation file: an object a line, with the rows of "gtboxes" by frame."""
    lines = [json.dumps({"ID": name, "gtboxes": list(rows)}) for name, rows in frames.items()]
    (root / f"annotation_{split}.odgt").write_text("".join(f"{line}\n" for line in lines))


def market1501_name(person: int, camera: int, frame: int | str, number: int) -> str:
    """The name of a picture without its suffix: 0002_c1s1_000451_03, or -1_c1s1_000451_03."""
    who = f"{person:04d}" if person >= 0 else str(person)
    return f"{who}_c{camera}s1_{int(frame):06d}_{number:02d}"


def luperson_path(root: Path, key: str) -> Path:
    """Where LUPerson keeps a picture."""
    return root / "LUP" / "images" / f"{key}.jpg"
