"""Indexes and searches many small pictures, and prints how memory grows.

    python tools/soak.py --frames 20000

A stand-in for a model finds two persons in every picture: what is watched is all around a model.
"""

import argparse
import tempfile
from pathlib import Path

import cv2
import numpy as np

from person_search.command import run_program
from person_search.gallery import GalleryModel, open_gallery
from person_search.gallery.indexing import Indexer
from person_search.gallery.sources import find_files
from person_search.structures import Detections, Searcher

DIM, PARTS = 64, 10


class TwoPersons(Searcher):
    """Finds two persons in every picture."""

    model = GalleryModel("", "stand-in", "0", "0", DIM, 0.5)

    def detect(self, pictures):
        """See :class:`Searcher`."""
        boxes = np.array([[0, 0, 8, 16], [8, 0, 16, 16]], np.float32)
        return [Detections(boxes, np.ones(2, np.float32), units(2, p)) for p in pictures]

    def embed(self, picture, boxes):
        """See :class:`Searcher`."""
        return units(len(boxes), picture)


def units(number: int, picture: np.ndarray) -> np.ndarray:
    """(number, DIM) unit vectors that a picture decides."""
    embeds = np.random.default_rng(int(picture.sum())).normal(size=(number, DIM))
    return (embeds / np.linalg.norm(embeds, axis=1, keepdims=True)).astype(np.float32)


def resident_mb() -> float:
    """Memory of this process; Linux alone."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 1e6


def main(argv: list[str] | None = None) -> int:
    """Prints a line for each tenth of the frames, and the slope over the second half."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=20_000)
    args = parser.parse_args(argv)
    each, memory, chance = args.frames // PARTS, [], np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        gallery = open_gallery(f"{folder}/gallery", TwoPersons.model)
        for part in range(PARTS):
            pictures = Path(folder, f"part{part}")
            pictures.mkdir()
            for i in range(each):
                noise = chance.integers(0, 255, (16, 16, 3), np.uint8)
                cv2.imwrite(str(pictures / f"{i}.png"), noise)
            Indexer(TwoPersons(), gallery, progress=False).run(find_files([str(pictures)]))
            for _ in range(20):
                gallery.search(units(1, chance.integers(0, 255, 9)))
            memory.append(resident_mb())
            print(f"{(part + 1) * each:7} frames  {memory[-1]:7.1f} MB", flush=True)
    half = PARTS // 2
    slope = np.polyfit(np.arange(half) * each, memory[half:], 1)[0] * 1e3
    print(f"second half: {slope:.2f} kB a frame")
    return 0


if __name__ == "__main__":
    run_program(main)
