"""Filling a gallery: decode, detect, write. An interrupted run goes on where it was, and what is
wrong with a file is said of it, and stops nothing."""

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np
from tqdm import tqdm

from person_search.errors import ImageError, PersonSearchError, printable
from person_search.structures import Detections, Searcher
from person_search.tally import Tally

from .decoding import Decoded, Ended, FrameReader, MemoryIsShort, Problem
from .engines import GalleryIndex
from .persons import Persons
from .sources import FoundFiles, SourceFile, count_frames

ROWS_PER_WRITE, SECONDS_PER_WRITE = 1000, 60
"""Rows of a write at least, and the longest time between two; this is what a crash can lose."""

MOST_WAITING = 4
"""Batches of frames that may wait for others of their size; then the fullest is not waited for."""


@dataclass
class IndexReport:
    """What became of the files.

    Attributes:
        files, frames, persons: that were indexed.
        skipped: files that were in the gallery already.
        problems: (path, reason) of files that could not be read, or not to their ends.
        remarks: what is to be known about films, such as that one stores no times.
        tally: what was taken, left out and why.
        decode_s, network_s, write_s: seconds; decoding is done beside the other two.
    """

    files: int = 0
    frames: int = 0
    persons: int = 0
    skipped: int = 0
    problems: list[tuple[str, str]] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    tally: Tally = field(default_factory=Tally)
    decode_s: float = 0.0
    network_s: float = 0.0
    write_s: float = 0.0

    @property
    def is_complete(self) -> bool:
        """Whether all pictures and films are in the gallery, to their ends."""
        return not self.problems

    def __str__(self) -> str:
        """For people: the counts, and each problem."""
        lines = [
            f"{self.persons} persons in {self.frames} frames of {self.files} files; "
            f"{self.skipped} files were there already",
            *str(self.tally).splitlines(),
        ]
        if self.problems:
            lines.append(f"{len(self.problems)} files could not be read, or not to their ends:")
            lines += [f"  {reason}" for _, reason in sorted(self.problems)]
        lines += [f"note: {remark}" for remark in sorted(self.remarks)]
        return printable("\n".join(lines))


@dataclass
class _Progress:
    """How far a file is.

    Attributes:
        stamp: how it is read.
        begun: whether the gallery knows that it has begun.
        pending: frames that were decoded, but have no rows yet.
        frames: that have their rows.
        problem: the first one.
        ended: whether all frames were decoded.
    """

    stamp: str
    begun: bool = False
    pending: int = 0
    frames: int = 0
    problem: Problem | None = None
    ended: bool = False


class Indexer:
    """Indexes files into a gallery.

    Frames are decoded by threads, not by processes: a gallery does not survive a fork. They go
    through the model in batches of one size: each then is one pass of the network.

    Args:
        searcher: the model.
        gallery: of the same model.
        every: index every N-th frame of a video.
        start: when the pictures were taken or the videos began; None: as the files say.
        batch_size: frames that the model is given at once.
        workers: threads that decode.
        progress: show a bar.
    """

    def __init__(
        self,
        searcher: Searcher,
        gallery: GalleryIndex,
        *,
        every: int = 25,
        start: datetime | None = None,
        batch_size: int = 4,
        workers: int = 2,
        progress: bool = True,
    ):
        gallery.model.require_same(searcher.model, gallery.uri)
        self.searcher, self.gallery = searcher, gallery
        self.every, self.start = every, start
        self.batch_size, self.workers, self.progress = batch_size, workers, progress

    def stamp(self, file: SourceFile) -> str:
        """What has to be as it was for a file not to be indexed again: first size and time."""
        found = os.stat(file.path)
        how = f" every {self.every}" if file.is_video else ""
        return f"{found.st_size} {found.st_mtime_ns} {file.camera}{how} {self.start or ''}".strip()

    def run(self, found: FoundFiles) -> IndexReport:
        """Index the files that are new or have changed. What was read is written in any case.

        Raises:
            GalleryError: the gallery cannot be written.
        """
        self._report = IndexReport(problems=list(found.problems))
        self._report.tally.add(found.tally)
        self._rows: list[Persons] = []
        self._open: dict[str, _Progress] = {}
        self._written_at = time.monotonic()
        todo = self._choose(found.files)
        frames = sum(count_frames(file, self.every) for file in todo) if self.progress else 0
        with tqdm(total=frames, unit=" frames", disable=not (self.progress and todo)) as bar:
            try:
                with FrameReader(todo, self.every, self.start, self.workers) as reader:
                    self._index(reader, bar)
            finally:
                self._write()
        self.gallery.optimize()
        return self._report

    # ---------------------------------------------------------------------------- which files to do

    def _choose(self, files: list[SourceFile]) -> list[SourceFile]:
        """The files to do; forgets what the gallery holds of those that have changed."""
        known, begun = self.gallery.files(), self.gallery.begun_files()
        names = {tuple(note.split()[:2]): path for path, note in known.items()}
        todo, changed, whole = [], [], []
        for file in files:
            try:
                (file.path + file.camera).encode()
                stamp = self.stamp(file)
            except UnicodeEncodeError:
                text = f"{ascii(file.path)}: its name is not UTF-8: rename it"
                self._left_out(file, Problem("name not UTF-8", text))
                continue
            except OSError as error:
                text = f"{file.path} cannot be read: {error.strerror or error}"
                self._left_out(file, Problem("not readable", text))
                continue
            other = names.get(tuple(stamp.split()[:2]), file.path)
            if _same_file(file.path, other) and file.path not in known:
                text = f"{file.path} is {other}"
                self._report.tally.leave(file.kind, "another name of a file in the gallery", text)
            elif self._is_known(file, stamp, known.get(file.path, "")):
                whole += [file.path] * (file.path in begun)
            else:
                self._open[file.path] = _Progress(stamp)
                todo.append(file)
                if file.path in known or begun.get(file.path, stamp) != stamp:
                    changed.append(file.path)
        self.gallery.end_files(whole)
        self.gallery.delete_files(changed)
        return todo

    def _is_known(self, file: SourceFile, stamp: str, note: str) -> bool:
        """Whether the gallery has a file, as its note says: a stamp, and maybe a problem."""
        before, _, problem = note.partition("\n")
        if before != stamp:
            return False
        self._report.skipped += 1
        self._report.tally.leave(file.kind, "in the gallery already", file.path)
        if problem:
            self._report.problems.append((file.path, f"{problem} (said by an earlier run)"))
        return True

    def _left_out(self, file: SourceFile, problem: Problem) -> None:
        self._report.problems.append((file.path, problem.text))
        self._report.tally.leave(file.kind, problem.why, file.path)

    # --------------------------------------------------------------------------- decode and detect

    def _index(self, reader: FrameReader, bar: tqdm) -> None:
        waiting: dict[tuple[int, ...], list[Decoded]] = {}
        for batch in self._batches(reader, waiting):
            self._detect(batch, reader)
            bar.update(len(batch))
            bar.set_postfix(persons=self._report.persons, refresh=False)
            late = time.monotonic() - self._written_at > SECONDS_PER_WRITE
            if late or sum(map(len, self._rows)) >= ROWS_PER_WRITE:
                self._write()

    def _batches(self, reader: FrameReader, waiting: dict) -> Iterator[list[Decoded]]:
        """Frames of one size, as many as go through the model at once."""
        for item in reader:
            if isinstance(item, Ended):
                progress = self._open[item.file.path]
                progress.ended, progress.problem = True, progress.problem or item.problem
                self._report.remarks += item.remarks
                self._settle(item.file)
            elif isinstance(item, MemoryIsShort):
                yield from [waiting.pop(size) for size in list(waiting)]
            else:
                self._report.decode_s += item.seconds
                self._open[item.file.path].pending += 1
                size = item.frame.image.shape
                waiting.setdefault(size, []).append(item)
                if sum(map(len, waiting.values())) >= MOST_WAITING * self.batch_size:
                    size = max(waiting, key=lambda size: len(waiting[size]))
                elif len(waiting[size]) < self.batch_size:
                    continue
                yield waiting.pop(size)
        yield from waiting.values()

    def _detect(self, batch: list[Decoded], reader: FrameReader) -> None:
        """Ask the model, and again one by one if it fails, so that others go on."""
        start = time.perf_counter()
        try:
            found: list[Detections | Problem] = [
                *self.searcher.detect([item.frame.image for item in batch])
            ]
        except Exception as error:
            if isinstance(error, PersonSearchError) and not isinstance(error, ImageError):
                raise
            if len(batch) > 1:
                for item in batch:
                    self._detect([item], reader)
                return
            found = [Problem.of(error, batch[0].file.path)]
        self._report.network_s += time.perf_counter() - start
        for item, persons in zip(batch, found, strict=True):
            self._take(item, persons)
            reader.release(item)

    def _take(self, item: Decoded, persons: Detections | Problem) -> None:
        """Make the rows of a frame."""
        progress, frame = self._open[item.file.path], item.frame
        progress.pending -= 1
        if isinstance(persons, Detections):
            persons = _checked(persons, frame.image, self.searcher.model.dim, item.file.path)
        if isinstance(persons, Problem):
            progress.problem = progress.problem or persons
        else:
            progress.frames += 1
            self._report.frames += 1
            self._report.persons += len(persons)
            self._rows.append(
                Persons.of_frame(
                    persons.boxes,
                    persons.scores,
                    persons.embeds,
                    picture=item.file.path,
                    camera=item.file.camera,
                    frame=frame.index,
                    seconds=frame.seconds,
                    time=frame.time,
                )
            )
        self._settle(item.file)

    def _settle(self, file: SourceFile) -> None:
        """Count a file once it has all its rows."""
        progress = self._open[file.path]
        if not progress.ended or progress.pending:
            return
        problem = progress.problem
        if not progress.frames:
            self._left_out(file, problem or Problem("not readable", f"{file.path} has no frame"))
            return
        self._report.files += 1
        self._report.tally.take(file.kind)
        if problem:
            self._report.problems.append((file.path, problem.text))
            self._report.tally.leave(f"parts of {file.kind}", problem.why, file.path)

    # -------------------------------------------------------------------------------------- writing

    def _write(self) -> None:
        """First that files have begun, then their rows, then which files are whole.

        So an interrupted run leaves no rows of a file that the gallery does not know about: the
        next run completes them, or removes them if the file has changed.
        """
        start = time.perf_counter()
        if self._rows:
            rows = Persons.concatenate(self._rows)
            begun = [path for path in dict.fromkeys(rows.picture) if not self._open[path].begun]
            self.gallery.begin_files({path: self._open[path].stamp for path in begun})
            for path in begun:
                self._open[path].begun = True
            self.gallery.upsert(rows)
        whole = {p: f for p, f in self._open.items() if f.ended and not f.pending and f.frames}
        self.gallery.write_files({path: _note(progress) for path, progress in whole.items()})
        for path in whole:
            del self._open[path]
        self._rows = []
        self._report.write_s += time.perf_counter() - start
        self._written_at = time.monotonic()


def _note(progress: _Progress) -> str:
    """What the gallery remembers of a whole file: its stamp, and in a second line its problem."""
    return progress.stamp + (f"\n{progress.problem.text}" if progress.problem else "")


def _same_file(path: str, other: str) -> bool:
    try:
        return path != other and os.path.samefile(path, other)
    except OSError:
        return False


def _checked(found: Detections, image: np.ndarray, dim: int, path: str) -> Detections | Problem:
    """The persons of a picture, or what is wrong with them; damaged weights give anything.

    A box may reach out of its picture, but not by more than the picture's size.
    """
    n, (height, width) = len(found), image.shape[:2]
    boxes, scores = np.asarray(found.boxes), np.asarray(found.scores)
    size = np.array([width, height] * 2)
    if boxes.shape != (n, 4) or scores.shape != (n,) or found.embeds.shape != (n, dim):
        wrong = f"shapes {boxes.shape} {scores.shape} {found.embeds.shape}"
    elif not np.isfinite(scores).all():
        wrong = f"the score {scores[~np.isfinite(scores)][0]}"
    elif not (is_sound := (abs(boxes - size / 2) <= 1.5 * size).all(axis=1)).all():
        wrong = f"the box {boxes[~is_sound][0].tolist()} in a picture of {width}x{height}"
    elif not (is_sound := (boxes[:, :2] < boxes[:, 2:]).all(axis=1)).all():
        wrong = f"the empty box {boxes[~is_sound][0].tolist()}"
    elif not (abs(np.linalg.norm(found.embeds, axis=1) - 1) < 1e-2).all():  # NaN fails, too
        wrong = "an embedding that is not of unit length"
    else:
        return found
    text = f"{path}: the model gave {wrong}; its weights are damaged: evaluate it, or use others"
    return Problem("absurd detections", text)
