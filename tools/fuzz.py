"""Mutants of sound files for every reader: each is read, or refused by an error of this project.

    python tools/fuzz.py --seconds 60
    python tools/fuzz.py pictures films --mutants 10000 --seed 3

A mutant is a sound file with some bytes changed, cut out, doubled or cut off. It is read in another
process, so that a crash of a library's own code is seen, too. The status is 1 if there was an error
of another kind, a crash, or a mutant that was read for longer than ten seconds. What failed is
written to ``output/fuzz``. To add a target, add a line to ``TARGETS``.
"""

import argparse
import io
import multiprocessing
import random
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from person_search.command import run_program
from person_search.errors import PersonSearchError

PATIENCE = 10.0
"""Seconds within which a mutant of some kilobytes is read."""


def pictures() -> dict[str, bytes]:
    """A small picture in each format."""
    made, noise = {}, np.random.default_rng(0).integers(0, 255, (24, 32, 3), np.uint8)
    for name in ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000"):
        file = io.BytesIO()
        Image.fromarray(noise).save(file, name)
        made[f"x.{name.lower()}"] = file.getvalue()
    return made


def films() -> dict[str, bytes]:
    """A small film in several containers."""
    import av

    made = {}
    kinds = {
        "mp4": "libx264",
        "ts": "mpeg2video",
        "mkv": "mpeg4",
        "avi": "mjpeg",
        "mpg": "mpeg1video",
    }
    with tempfile.TemporaryDirectory() as folder:
        for suffix, codec in kinds.items():
            path = Path(folder, f"x.{suffix}")
            with av.open(str(path), "w") as output:
                stream = output.add_stream(codec, rate=25)
                stream.width, stream.height = 64, 48
                stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
                for i in range(12):
                    image = np.full((48, 64, 3), 20 * i, np.uint8)
                    output.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="bgr24")))
                output.mux(stream.encode())
            made[path.name] = path.read_bytes()
    return made


def weights() -> dict[str, bytes]:
    """A small checkpoint."""
    import torch

    file = io.BytesIO()
    torch.save({"model": {"a.weight": torch.ones(3, 2)}, "iteration": 1}, file)
    return {"x.pth": file.getvalue()}


def read_picture(path: str) -> None:
    from person_search.gallery.sources import taken
    from person_search.images import image_size, read_image

    taken(path)
    image_size(path)
    read_image(path)


def read_film(path: str) -> None:
    from person_search.gallery.sources import SourceFile, read_frames, read_scene

    read_scene(path, 0.2)
    for _ in read_frames(SourceFile(path), every=3):
        pass


def read_weights(path: str) -> None:
    from person_search.engine.weights_file import read_weights_file

    read_weights_file(path)


TARGETS: dict[str, tuple[Callable[[], dict[str, bytes]], Callable[[str], None]]] = {
    "pictures": (pictures, read_picture),
    "films": (films, read_film),
    "weights": (weights, read_weights),
}
"""Name -> what makes sound files by name, and what reads one; both are top-level functions."""


def mutate(content: bytes, chance: random.Random) -> bytes:
    """A few changes at places drawn at random; headers are hit as often as all the rest."""
    data = bytearray(content)
    for _ in range(chance.choice((1, 1, 2, 4, 16))):
        end = len(data) if chance.random() < 0.5 else min(len(data), 256)
        at, length = chance.randrange(max(1, end)), chance.choice((1, 2, 4, 32))
        kind = chance.randrange(5)
        if kind == 0:
            data[at : at + length] = chance.randbytes(length)
        elif kind == 1:
            data[at : at + length] = bytes([chance.choice((0, 255, 127, 128))]) * length
        elif kind == 2:
            del data[at : at + length]
        elif kind == 3:
            data[at:at] = data[at : at + length]
        elif chance.random() < 0.3:
            del data[at:]
    return bytes(data)


def try_mutants(connection, target: str) -> None:
    """In a process of its own: reads the files whose paths come, and says what came of each."""
    read = TARGETS[target][1]
    while path := connection.recv():
        try:
            read(path)
            said = "read"
        except PersonSearchError:
            said = "refused"
        except Exception as error:
            said = f"{type(error).__name__}: {str(error)[:200]}"
        connection.send(said)


class Reader:
    """The process that reads mutants; started again after a crash."""

    def __init__(self, target: str):
        self.target = target
        self._start()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, other = context.Pipe()
        self.process = context.Process(target=try_mutants, args=(other, self.target), daemon=True)
        self.process.start()
        other.close()

    def read(self, path: Path) -> str:
        """ "read", "refused", or what went wrong."""
        try:
            self.connection.send(str(path))
            if self.connection.poll(PATIENCE + 60 * (not self.process.exitcode and self.is_new)):
                self.is_new = False
                return self.connection.recv()
            said = f"not read within {PATIENCE:g} s"
        except (EOFError, ConnectionError):
            self.process.join()
            said = f"crash, status {self.process.exitcode}"
        self.close()
        self._start()
        self.is_new = True
        return said

    is_new = True
    """The first answer takes longer: libraries are loaded."""

    def close(self) -> None:
        self.process.kill()
        self.process.join()


def fuzz(target: str, seed: int, most: int, until: float, kept: Path) -> Counter[str]:
    """What came of the mutants of a target; those that failed are written to a folder."""
    chance, sound, found = random.Random(seed), TARGETS[target][0](), Counter()
    reader = Reader(target)
    with tempfile.TemporaryDirectory() as folder:
        while sum(found.values()) < most and time.monotonic() < until:
            name = chance.choice(sorted(sound))
            path = Path(folder, name)
            path.write_bytes(mutate(sound[name], chance))
            said = reader.read(path)
            found[said] += 1
            if said not in ("read", "refused"):
                kept.mkdir(parents=True, exist_ok=True)
                (kept / f"{target}-{sum(found.values())}-{name}").write_bytes(path.read_bytes())
    reader.close()
    return found


def main(argv: list[str] | None = None) -> int:
    """Prints a line for each target and kind of outcome."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(TARGETS))
    parser.add_argument("--seconds", type=float, default=60, help="all together (default: 60)")
    parser.add_argument("--mutants", type=int, default=10**9, help="of each target at most")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    names = args.targets or list(TARGETS)
    if unknown := set(names) - TARGETS.keys():
        parser.error(f"unknown target {sorted(unknown)[0]}: choose from {', '.join(TARGETS)}")
    failed = 0
    for name in names:
        until = time.monotonic() + args.seconds / len(names)
        found = fuzz(name, args.seed, args.mutants, until, Path("output", "fuzz"))
        print(f"{name}: {sum(found.values())} mutants", flush=True)
        for said, number in found.most_common():
            print(f"  {number:6} {said}")
            failed += number * (said not in ("read", "refused"))
    return 1 if failed else 0


if __name__ == "__main__":
    run_program(main)
