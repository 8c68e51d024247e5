"""Galleries of strangers: their notes, their calibrations, and their files on the disk."""

import json
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np

from . import TESTS
from .target import Target

sys.path.append(str(TESTS / "gallery"))

DIGEST = "the right checksum"


def write_notes(folder: Path) -> None:
    """The notes of a gallery, each a file; a calibration; and what was named on this machine."""
    import gallery_rows
    from test_adapting import rows

    from person_search.evaluation import OpenSetScores, fit_adaptation, fit_open_set
    from person_search.gallery.adapting import FORMAT
    from person_search.gallery.calibration import Calibration, model_fields

    model = gallery_rows.model(weights=str(folder / "x.pth"))
    (folder / "model.json").write_text(json.dumps(asdict(model)))
    persons = rows()[0]
    found = fit_adaptation(persons.embed, persons.camera.astype(str), persons.picture.astype(str))
    np.savez(folder / "adaptation.npz", **found.arrays())
    about = {"format": FORMAT, "version": DIGEST, "parts": 1, "rows": 240}
    (folder / "adaptation.json").write_text(json.dumps(about))
    rng = np.random.default_rng(0)
    strangers = -np.sort(-rng.uniform(0, 0.5, (100, 50)))
    scores = OpenSetScores(strangers, np.full(100, 50), np.arange(100), rng.uniform(0, 1, 1000))
    fields = {"model": model_fields(model), "data": "x", "queries": 9, "persons": 9, "frames": 9}
    Calibration(**fields, false_alarm_rate=0.2, curve=fit_open_set(scores)).save(model)
    named = {"weights": "w0", "path": str(folder)}, {"gallery": "g", "pictures": "/p"}
    (folder / "person_search").mkdir()
    (folder / "person_search" / "named.jsonl").write_text("\n".join(map(json.dumps, named)))


def read_notes(folder: Path, path: Path) -> None:
    """Each as its commands do; a changed adaptation gets the right checksum."""
    import gallery_rows

    text = path.read_bytes().decode(errors="replace")
    model = gallery_rows.model(weights=str(folder / "x.pth"))
    if path.name == "model.json":
        from person_search.gallery.engines.base import _parse_model

        _parse_model(text, "g").require_same(model, "g")
    elif path.name.startswith("adaptation"):
        _read_adaptation(folder, path, text)
    elif path.name == "x.calibration.json":
        from person_search.gallery.calibration import Calibration

        for size in (1, 60, 10**6):
            str(Calibration.load(model).threshold(size))
    else:
        import os

        from person_search.gallery.trust import named_pictures, named_weights

        os.environ["XDG_CONFIG_HOME"] = str(folder)
        named_weights(model)
        named_pictures("g")


def _read_adaptation(folder: Path, path: Path, text: str) -> None:
    import base64

    import gallery_rows
    from test_adapting import DIM, queries, rows

    from person_search.gallery import open_gallery
    from person_search.gallery.adapting import NOTE, PART_NOTE, _digest, read_adaptation
    from person_search.gallery.search import search

    data = (folder / "adaptation.npz").read_bytes()
    if path.name == "adaptation.npz":
        text = (folder / "adaptation.json").read_text()
    text = text.replace(DIGEST, _digest(data))
    gallery = open_gallery("memory:", gallery_rows.model(dim=DIM))
    gallery.upsert(rows(4)[0])
    notes = {NOTE: text, f"{PART_NOTE}{_digest(data)}:{0:06}": base64.b64encode(data).decode()}
    gallery.write_notes(notes)
    if found := read_adaptation(gallery):
        found.note(gallery)
        search(gallery, queries(rows(4)[0].embed[:2]))


def write_gallery(folder: Path) -> None:
    """A gallery in a folder, with rows, notes and an old version."""
    import gallery_rows

    from person_search.gallery import open_gallery

    gallery = open_gallery(str(folder / "gallery"), gallery_rows.model())
    gallery.upsert(gallery_rows.frames(range(4)))
    gallery.write_files({f"/pictures/{i}.jpg": "1 2 c" for i in range(4)})
    gallery.close()


def read_gallery(folder: Path, path: Path) -> None:
    """Its model, its contents, and a search."""
    import gallery_rows

    from person_search.gallery import open_gallery

    gallery = open_gallery(str(folder / "gallery"), None)
    gallery.files()
    gallery.count()
    gallery.contents()
    gallery.search(gallery_rows.unit(2, 0), 5)


NOTES = Target(write_notes, read_notes, "**/*.*")
GALLERIES = Target(write_gallery, read_gallery)
