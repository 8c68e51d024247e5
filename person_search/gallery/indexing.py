"""Filling a gallery: decode, detect, write; taking up an interrupted run; nothing fatal."""

import os
import queue
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np
from tqdm import tqdm

from person_search.errors import ImageError
from person_search.structures import Searcher

from .engines import GalleryIndex
from .persons import Persons
from .sources import SourceFile, count_frames, read_frames

ROWS_PER_WRITE, SECONDS_PER_WRITE = 1000, 60
"""A write has at least so many rows, or comes after so long; this is what a crash can lose."""

BATCHES_AHEAD = 2
"""So many batches of decoded frames are kept ready."""


@dataclass
class IndexReport:
    """What became of the files.

    Attributes:
        files, frames, persons: that were indexed.
        skipped: files that were in the gallery already.
        problems: (path, reason) of files that could not be read, or not to their ends.
        decode_s, network_s, write_s: seconds; decoding is done beside the other two.
    """

    files: int = 0
    frames: int = 0
    persons: int = 0
    skipped: int = 0
    problems: list[tuple[str, str]] = field(default_factory=list)
    decode_s: float = 0.0
    network_s: float = 0.0
    write_s: float = 0.0


@dataclass(frozen=True, eq=False)
class _Decoded:
    """A frame on its way to the model; ``place`` are arguments of ``Persons.of_frame``."""

    path: str
    place: dict
    image: np.ndarray
    seconds: float


@dataclass(frozen=True)
class _End:
    """A file has no more frames; ``problem`` says why it has not all that it should have."""

    path: str
    frames: int
    problem: str | None


class Indexer:
    """Indexes files into a gallery.

    Frames are decoded by threads, not by processes: a gallery does not survive a fork.

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
        """What has to be as it was for a file not to be indexed again."""
        found = os.stat(file.path)
        how = f" every {self.every}" if file.is_video else ""
        return f"{found.st_size} {found.st_mtime_ns} {file.camera}{how} {self.start or ''}".strip()

    def run(self, files: list[SourceFile]) -> IndexReport:
        """Index the files that are new or have changed. What was read is written in any case."""
        self._report = IndexReport()
        self._rows: list[Persons] = []
        self._pending: Counter[str] = Counter()  # path -> frames decoded, but not yet in rows
        self._ended: list[str] = []  # files that were decoded to their ends, not yet remembered
        self._written_at = time.monotonic()
        todo = self._choose(files)
        frames = sum(count_frames(file, self.every) for file in todo) if self.progress else 0
        with tqdm(total=frames, unit=" frames", disable=not (self.progress and todo)) as bar:
            try:
                self._index(todo, bar)
            finally:
                self._write()
        self.gallery.optimize()
        return self._report

    def _choose(self, files: list[SourceFile]) -> list[SourceFile]:
        """The files to do; forgets what the gallery holds of those that have changed."""
        known, todo, self._stamps = self.gallery.files(), [], {}
        for file in files:
            try:
                file.path.encode()
                self._stamps[file.path] = self.stamp(file)
            except UnicodeEncodeError:
                self._report.problems.append((ascii(file.path), "its name is not UTF-8: rename it"))
            except OSError as error:
                self._report.problems.append((file.path, error.strerror or str(error)))
            else:
                todo.append(file)
        new = [file for file in todo if known.get(file.path) != self._stamps[file.path]]
        self._report.skipped = len(todo) - len(new)
        changed = [file.path for file in new if file.path in known]
        if changed:
            self.gallery.delete_files(changed)
        return new

    def _index(self, todo: list[SourceFile], bar: tqdm) -> None:
        report, batch = self._report, []
        for item in self._read_ahead(todo):
            if isinstance(item, _End):
                if item.problem:
                    report.problems.append((item.path, item.problem))
                if item.frames:
                    report.files += 1
                    self._ended.append(item.path)
                continue
            report.decode_s += item.seconds
            self._pending[item.path] += 1
            batch.append(item)
            if len(batch) == self.batch_size:
                self._detect(batch, bar)
                batch = []
        if batch:
            self._detect(batch, bar)

    def _detect(self, batch: list[_Decoded], bar: tqdm) -> None:
        start = time.perf_counter()
        found = self.searcher.detect([item.image for item in batch])
        self._report.network_s += time.perf_counter() - start
        for item, persons in zip(batch, found, strict=True):
            self._rows.append(
                Persons.of_frame(persons.boxes, persons.scores, persons.embeds, **item.place)
            )
            self._pending[item.path] -= 1
            self._report.persons += len(persons)
        self._report.frames += len(batch)
        bar.update(len(batch))
        bar.set_postfix(persons=self._report.persons, refresh=False)
        late = time.monotonic() - self._written_at > SECONDS_PER_WRITE
        if late or sum(map(len, self._rows)) >= ROWS_PER_WRITE:
            self._write()

    def _write(self) -> None:
        """First the rows, then which files they complete: a crash between costs a repetition."""
        start = time.perf_counter()
        if self._rows:
            self.gallery.upsert(Persons.concatenate(self._rows))
        whole = [path for path in self._ended if not self._pending[path]]
        self.gallery.write_files({path: self._stamps[path] for path in whole})
        self._rows, self._ended = [], [path for path in self._ended if self._pending[path]]
        self._report.write_s += time.perf_counter() - start
        self._written_at = time.monotonic()

    def _read_ahead(self, todo: list[SourceFile]) -> Iterator[_Decoded | _End]:
        """What the decoding threads give, in the order in which it comes."""
        ahead = queue.Queue(BATCHES_AHEAD * self.batch_size)
        files, lock, stop = iter(todo), threading.Lock(), threading.Event()

        def put(item) -> None:
            while not stop.is_set():
                try:
                    return ahead.put(item, timeout=0.1)
                except queue.Full:
                    pass

        def work() -> None:
            while not stop.is_set():
                with lock:
                    file = next(files, None)
                if file is None:
                    return
                try:
                    for item in self._decode(file):
                        put(item)
                        if stop.is_set():
                            return
                except Exception as error:  # not the file's fault: the run has to end
                    return put(error)

        threads = [threading.Thread(target=work, daemon=True) for _ in range(self.workers)]
        for thread in threads:
            thread.start()
        left = len(todo)
        try:
            while left:
                item = ahead.get()
                if isinstance(item, Exception):
                    raise item
                left -= isinstance(item, _End)
                yield item
        finally:
            stop.set()
            for thread in threads:
                thread.join()

    def _decode(self, file: SourceFile) -> Iterator[_Decoded | _End]:
        frames, problem, start = 0, None, time.perf_counter()
        try:
            for frame in read_frames(file, self.every, self.start):
                place = {
                    "picture": file.path,
                    "camera": file.camera,
                    "frame": frame.index,
                    "seconds": frame.seconds,
                    "time": frame.time,
                }
                frames += 1
                yield _Decoded(file.path, place, frame.image, time.perf_counter() - start)
                start = time.perf_counter()
            if not frames:
                problem = f"{file.path} holds no frame"
        except ImageError as error:
            problem = str(error)
        except MemoryError:
            problem = "too large for this machine's memory"
        yield _End(file.path, frames, problem)
