"""Mutants of sound files for every reader: each is read, or refused by an error of this project.

    python tools/fuzz.py --seconds 60
    python tools/fuzz.py pictures films --mutants 10000 --seed 3

A mutant is a sound file with some bytes or values changed, cut out, doubled or cut off. It is read
in another process, so that a crash of a library's own code is seen, too. The status is 1 if there
was an error of another kind, a crash, or a mutant that was read for longer than ten seconds. What
failed is written to ``output/fuzz``. To add a target, see ``tools/fuzzing/targets.py``.
"""

import argparse
import multiprocessing
import random
import resource
import tempfile
import time
from collections import Counter, defaultdict
from pathlib import Path

from fuzzing.mutations import mutate
from fuzzing.target import Target
from fuzzing.targets import TARGETS

from person_search.command import run_program
from person_search.errors import PersonSearchError

PATIENCE = 10.0
"""Seconds within which a mutant of some kilobytes is read."""

START = 300.0
"""Seconds within which a target is ready: libraries are loaded, sound files written and read."""

MOST_BYTES = 4 * 2**30
"""Of memory, for the process that reads: more than any small file should need."""

SEEDS = 20
"""Sound files of a target that are read to see that it can read; others are like these."""

GOOD = ("read", "refused")


def files_of(folder: Path) -> dict[Path, bytes]:
    """All files below a folder, with their content."""
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def read_mutants(connection, target: Target, folder: Path) -> None:
    """In a process of its own: says what came of the files whose paths come.

    First it writes the sound files, if they are not there, reads some of them, and says "ready".
    """
    resource.setrlimit(resource.RLIMIT_DATA, (MOST_BYTES, MOST_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if not any(folder.iterdir()):
        target.write(folder)
    for path in sorted(folder.glob(target.files))[:SEEDS]:
        if path.is_file():
            target.read(folder, path)
    connection.send("ready")
    while path := connection.recv():
        try:
            target.read(folder, path)
            said = "read"
        except PersonSearchError as error:
            said = "refused" if str(error).strip() else "an error that says nothing"
        except BaseException as error:  # a panic in Rust is no Exception
            said = f"{type(error).__name__}: {str(error)[:200]}"
        connection.send(said)


class Reader:
    """The process that reads mutants of a target in a folder; started again after a crash."""

    def __init__(self, target: Target, folder: Path):
        self.target, self.folder = target, folder
        self.start()

    def start(self) -> None:
        """Returns when it is ready."""
        context = multiprocessing.get_context("spawn")
        self.connection, other = context.Pipe()
        self.process = context.Process(
            target=read_mutants, args=(other, self.target, self.folder), daemon=True
        )
        self.process.start()
        other.close()
        if not self.connection.poll(START) or self.connection.recv() != "ready":
            raise RuntimeError(f"{self.target} does not start")

    def read(self, path: Path) -> str:
        """ "read", "refused", or what went wrong; then it has to be started again."""
        try:
            self.connection.send(path)
            if self.connection.poll(PATIENCE):
                return self.connection.recv()
            said = f"not read within {PATIENCE:g} s"
        except (EOFError, ConnectionError):
            self.process.join()
            said = f"crash, status {self.process.exitcode}"
        self.close()
        return said

    @property
    def is_running(self) -> bool:
        return self.process.is_alive()

    def close(self) -> None:
        self.process.kill()
        self.process.join()


def fuzz(
    name: str, target: Target, seed: int, most: int, seconds: float, kept: Path
) -> Counter[str]:
    """What came of the mutants of a target; those that failed are written to a folder.

    Args:
        name: of the target.
        target: what is read.
        seed: of the mutants.
        most: number of mutants.
        seconds: after the start, in which libraries are loaded.
        kept: the folder.
    """
    chance, found = random.Random(f"{seed} {name}"), Counter()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        reader = Reader(target, folder)
        sound, states = files_of(folder), {}
        restore(folder, sound, states)
        groups = defaultdict(list)  # as often of a data set of few files as of one of many
        for path in sorted(folder.glob(target.files)):
            if path.is_file():
                groups[path.relative_to(folder).parts[0]].append(path)
        until = time.monotonic() + seconds
        while sum(found.values()) < most and time.monotonic() < until:
            path = chance.choice(groups[chance.choice(sorted(groups))])
            content = mutate(path.name, sound[path], chance)
            path.write_bytes(content)
            said = reader.read(path)
            found[said] += 1
            restore(folder, sound, states)
            if said not in GOOD:
                kept.mkdir(parents=True, exist_ok=True)
                file = "-".join(path.relative_to(folder).parts)
                (kept / f"{name}-{seed}-{sum(found.values())}-{file}").write_bytes(content)
            if not reader.is_running:
                reader.start()
        reader.close()
    return found


def restore(folder: Path, sound: dict[Path, bytes], states: dict[Path, tuple]) -> None:
    """The sound files alone: reading may have written others. ``states`` are theirs."""
    there = {path: path.stat() for path in folder.rglob("*") if path.is_file()}
    for path in there.keys() - sound.keys():
        path.unlink()
    for path, content in sound.items():
        found = there.get(path)
        if found is None or (found.st_size, found.st_mtime_ns) != states.get(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            states[path] = path.stat().st_size, path.stat().st_mtime_ns


def main(argv: list[str] | None = None) -> int:
    """Prints a line for each target and kind of outcome."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(TARGETS))
    parser.add_argument(
        "--seconds", type=float, default=60, help="all together, starts apart (default: 60)"
    )
    parser.add_argument("--mutants", type=int, default=10**9, help="of each target at most")
    parser.add_argument("--seed", type=int, default=0, help="of the mutants (default: 0)")
    parser.add_argument("--kept", type=Path, default=Path("output", "fuzz"), help="what failed")
    args = parser.parse_args(argv)
    names = args.targets or list(TARGETS)
    if unknown := set(names) - TARGETS.keys():
        parser.error(f"unknown target {sorted(unknown)[0]}: choose from {', '.join(TARGETS)}")
    failed = 0
    for name in names:
        seconds = args.seconds / len(names)
        found = fuzz(name, TARGETS[name], args.seed, args.mutants, seconds, args.kept)
        print(f"{name}: {sum(found.values())} mutants", flush=True)
        for said, number in found.most_common():
            print(f"  {number:6} {said}")
            failed += number * (said not in GOOD)
    return 1 if failed else 0


if __name__ == "__main__":
    run_program(main)
