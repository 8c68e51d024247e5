"""Frames of many files, decoded by threads beside the network, within a bound of memory."""

import queue
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from person_search.errors import ImageError, PersonSearchError

from .sources import Frame, SourceFile, frame_size, read_frames

MOST_BYTES = 2**30
"""Decoded frames that nobody has released yet take at most so much memory; one frame may be larger,
if it is alone."""

MOST_FRAMES = 64
"""Number of decoded frames that are kept ready at most."""


@dataclass(frozen=True)
class Problem:
    """Why a file, or a part of it, is not in the gallery.

    Attributes:
        why: the kind of problem, in a table: "not readable", or the type of an unexpected error.
        text: what happened, and to which file.
    """

    why: str
    text: str

    @classmethod
    def of(cls, error: Exception, path: str) -> "Problem":
        """What an error means for the file that it came with."""
        if isinstance(error, ImageError):
            return cls("not readable", str(error))
        if isinstance(error, MemoryError):
            return cls("too large", f"{path} is too large for this machine's memory")
        first = (str(error).splitlines() or [""])[0]
        return cls(type(error).__name__, f"{path}: unexpected {type(error).__name__}: {first}")


@dataclass(frozen=True, eq=False)
class Decoded:
    """A frame of a file.

    Attributes:
        seconds: that decoding took.
        bytes: of memory, to be released.
    """

    file: SourceFile
    frame: Frame
    seconds: float
    bytes: int


@dataclass(frozen=True, eq=False)
class Ended:
    """A file has no more frames.

    Attributes:
        problem: why it has not all that it should have, or None.
        remarks: what is to be known about its frames and times.
    """

    file: SourceFile
    problem: Problem | None
    remarks: tuple[str, ...]


class MemoryIsShort:
    """A thread waits for memory: whoever holds frames back should release them."""


class _Memory:
    """Bytes that may be taken, until they are given back."""

    def __init__(self, most: int):
        self._most, self._taken, self._change = most, 0, threading.Condition()

    def take(self, size: int, timeout: float) -> bool:
        """Whether it could be taken in this time; one alone may be larger than all."""
        with self._change:
            fits = self._change.wait_for(
                lambda: not self._taken or self._taken + size <= self._most, timeout
            )
            self._taken += size if fits else 0
            return fits

    def give(self, size: int) -> None:
        with self._change:
            self._taken -= size
            self._change.notify_all()


class FrameReader:
    """Iterates over :class:`Decoded`, :class:`Ended` and :class:`MemoryIsShort`.

    Files are read in their order by several threads, so their frames come mixed, but those of one
    file in order, and its end after them. What goes wrong with a file is its :class:`Problem`.

    Args:
        files: what to read.
        every: index every N-th frame of a film.
        start: when pictures were taken and films began; None: as the files say.
        workers: number of threads.
    """

    def __init__(self, files: list[SourceFile], every: int, start: datetime | None, workers: int):
        self._files, self._lock = iter(files), threading.Lock()
        self._left = len(files)
        self._every, self._start = every, start
        self._ahead: queue.Queue = queue.Queue(MOST_FRAMES)
        self._memory, self._stop = _Memory(MOST_BYTES), threading.Event()
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(workers)]

    def __enter__(self) -> "FrameReader":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def __iter__(self) -> Iterator[Decoded | Ended | MemoryIsShort]:
        while self._left:
            item = self._ahead.get()
            if isinstance(item, BaseException):
                raise item
            self._left -= isinstance(item, Ended)
            yield item

    def release(self, item: Decoded) -> None:
        """Say that a frame is no longer needed."""
        self._memory.give(item.bytes)

    def _put(self, item: object) -> None:
        while not self._stop.is_set():
            try:
                return self._ahead.put(item, timeout=0.1)
            except queue.Full:
                pass

    def _take_memory(self, size: int) -> None:
        timeout = 0.0
        while not self._stop.is_set() and not self._memory.take(size, timeout):
            self._put(MemoryIsShort())
            timeout = 0.1

    def _work(self) -> None:
        while not self._stop.is_set():
            with self._lock:
                file = next(self._files, None)
            if file is None:
                return
            problem = None
            remarks: list[str] = []
            try:
                self._decode(file, remarks)
            except Exception as error:
                if isinstance(error, PersonSearchError) and not isinstance(error, ImageError):
                    return self._put(error)  # as a missing package: no file's own problem
                problem = Problem.of(error, file.path)
            self._put(Ended(file, problem, tuple(remarks)))

    def _decode(self, file: SourceFile, remarks: list[str]) -> None:
        height, width = frame_size(file)
        size, frames = height * width * 3, read_frames(file, self._every, self._start, remarks)
        while not self._stop.is_set():
            self._take_memory(size)
            begun = time.perf_counter()
            try:
                frame = next(frames)
            except BaseException as error:
                self._memory.give(size)
                if isinstance(error, StopIteration):
                    return
                raise
            self._put(Decoded(file, frame, time.perf_counter() - begun, size))
