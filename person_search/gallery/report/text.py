"""What a search found, in words: tables for people, JSON for programs."""

import json
from dataclasses import asdict

from tabulate import tabulate

from person_search.errors import printable_name

from ..calibration import Threshold
from ..engines import GalleryIndex
from ..persons import Hit
from ..queries import xywh
from ..search import SearchResult
from .pictures import scene_details


def as_table(results: list[SearchResult], threshold: Threshold | None) -> str:
    """One table per person, and the threshold that was asked for."""
    parts, about = [], ("camera", "time", "at")
    for result in results:
        pictures = ", ".join(
            f"{printable_name(image.picture)} [{xywh(image.box)}]" for image in result.query.images
        )
        rows = []
        for rank, hit in enumerate(result.hits, start=1):
            known = scene_details(hit)
            details = [printable_name(known.get(name, "")) for name in about]
            place = printable_name(hit.picture), xywh(hit.box)
            rows.append((rank, f"{hit.similarity:.3f}", *details, *place))
        head = ("", "similarity", *about, "picture", "x,y,w,h")
        lines = [f"{result.query.label}: {pictures}"]
        if result.decision:
            lines.append(result.decision)
        if rows:
            lines.append(tabulate(rows, headers=head, disable_numparse=True))
        elif not result.decision:
            lines.append("nobody fits")
        parts.append("\n".join(lines))
    if threshold:
        parts.append(str(threshold))
    return "\n\n".join(parts)


def as_json(results: list[SearchResult], gallery: GalleryIndex, threshold: Threshold | None) -> str:
    """Everything, for programs."""
    searches = [
        {
            "label": result.query.label,
            "queries": [
                {"picture": q.picture, "seconds": q.seconds, "box": [float(v) for v in q.box]}
                for q in result.query.images
            ],
            "in_gallery": result.in_gallery,
            "best_similarity": result.best if result.threshold else None,
            "hits": [_record(rank, hit) for rank, hit in enumerate(result.hits, start=1)],
        }
        for result in results
    ]
    content = {
        "gallery": gallery.uri,
        "threshold": threshold and asdict(threshold),
        "searches": searches,
    }
    text = json.dumps(content, indent=1, ensure_ascii=False)
    # JSON escapes most control characters by itself, but not those behind ASCII.
    return "".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text)


def _record(rank: int, hit: Hit) -> dict:
    return {"rank": rank, **asdict(hit), "time": hit.time and hit.time.isoformat()}
