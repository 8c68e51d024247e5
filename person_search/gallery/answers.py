"""What a search found, in words: tables for people, JSON for programs."""

import json
from dataclasses import asdict

from tabulate import tabulate

from .calibration import Threshold
from .engines import GalleryIndex
from .findings import Finding
from .persons import Hit
from .queries import xywh
from .report import facts


def as_table(findings: list[Finding], threshold: Threshold | None) -> str:
    """One table per person, and the threshold that was asked for."""
    parts, about = [], ("camera", "time", "at")
    for finding in findings:
        pictures = ", ".join(f"{q.picture} [{xywh(q.box)}]" for q in finding.wanted.shown)
        rows = [
            (i, f"{h.similarity:.3f}", *map(facts(h).get, about), h.picture, xywh(h.box))
            for i, h in enumerate(finding.hits, start=1)
        ]
        head = ("", "similarity", *about, "picture", "x,y,w,h")
        lines = [f"{finding.wanted.label}: {pictures}"]
        if finding.decision:
            lines.append(str(finding.decision))
        if rows:
            lines.append(tabulate(rows, headers=head, disable_numparse=True))
        elif not finding.decision:
            lines.append("nobody fits")
        parts.append("\n".join(lines))
    if threshold:
        parts.append(str(threshold))
    return "\n\n".join(parts)


def as_json(findings: list[Finding], gallery: GalleryIndex, threshold: Threshold | None) -> str:
    """Everything, for programs."""
    searches = [
        {
            "label": finding.wanted.label,
            "queries": [
                {"picture": q.picture, "seconds": q.seconds, "box": [float(v) for v in q.box]}
                for q in finding.wanted.shown
            ],
            "in_gallery": finding.decision.in_gallery if finding.decision else None,
            "best_similarity": finding.decision.best if finding.decision else None,
            "hits": [_record(rank, hit) for rank, hit in enumerate(finding.hits, start=1)],
        }
        for finding in findings
    ]
    content = {
        "gallery": gallery.uri,
        "threshold": threshold and asdict(threshold),
        "searches": searches,
    }
    return json.dumps(content, indent=1, ensure_ascii=False)


def _record(rank: int, hit: Hit) -> dict:
    record = {"rank": rank, **asdict(hit), "time": hit.time and hit.time.isoformat()}
    del record["embed"]
    return record
