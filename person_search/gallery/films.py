"""Films: their frames, and the same frame again by its second.

A frame is known by its second, counted from the first frame of its film. Most films store a time
with every frame, on a clock that may begin anywhere; these times are also what a frame is found by
when it is read again. Where a film stores none, seconds are the number of the frame divided by the
film's rate.
"""

import os
from collections.abc import Iterator, Mapping
from fractions import Fraction
from functools import lru_cache
from itertools import islice
from math import inf
from typing import Any
from zlib import crc32

import numpy as np

from person_search.errors import GalleryError, ImageError
from person_search.files import optional_module, require_regular_file
from person_search.images import MAX_PIXELS

_FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2 matroska,webm avi mpegts mpeg mpegvideo h264 hevc asf flv live_flv "
    "ogg mxf dv m4v mjpeg ivf obu rm wtv swf nut gxf vc1 av1"
).split()
"""Containers that are opened. Not among them: play lists, which would open other files."""

_KEEP_TIMES = {"mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm"}
"""Containers that store the time of every frame, in one clock for the whole film."""

_SAME, _ROUNDED = 1e-6, 5e-3
"""Seconds that are equal but for rounding errors, and those that somebody rounded to 0.01."""

_JUMP = 1.0
"""Seconds. A clock that falls back by more began anew; by less, two frames share a time."""

_STEPS_BACK = (0.0, 2.0, 8.0, 30.0, 120.0)
"""Seconds before a frame from which decoding is tried, until a sound frame comes before it."""

_ATTACHED_PICTURE = 0x400
"""Flag of a stream, of FFmpeg."""

_FEWEST_FRAMES = 0.98
"""Share of the packets that should give a frame: some codecs have packets that give none, and where
a picture is stored as two fields, two packets give one."""

_GAP = 1.0
"""Without a frame for longer, and for ten times longer than usual, something may be lost."""

_FAILURES = 100
"""Failed reads in a row after which a film counts as broken off."""


class Film:
    """An open film, to be closed as a file is, by ``with``.

        with Film("yard.mp4") as film:
            for index, seconds, image in film.frames(every=25): ...
        with Film("yard.mp4") as film:
            image = film.frame_at(12.5)

    Args:
        path: of a film in one of the containers that FFmpeg knows, play lists apart.

    Attributes:
        size: (height, width) of its frames, as they are stored.
        metadata: texts by name, such as "creation_time".
        damaged: how many packets so far were damaged, or gave a damaged frame, which is left out.
        remarks: what else is to be known about its frames and times, in words.

    Raises:
        ImageError: not a readable video, without pictures, or too large.
    """

    def __init__(self, path: str):
        self.path = os.fspath(path)
        self._av = optional_module("av", "gallery", GalleryError)
        self._open()
        context = self._stream.codec_context
        self.size = context.height, context.width
        self.metadata = dict(self._container.metadata)
        if context.width * context.height > MAX_PIXELS:
            self.close()
            raise ImageError(
                f"{path} is too large: its frames have {context.width * context.height / 1e6:.0f} "
                f"megapixels, and at most {MAX_PIXELS / 1e6:.0f} are decoded"
            )
        self._rate = self._stream.average_rate or self._stream.guessed_rate or Fraction(25)
        self._is_counted = self._has_no_times()
        self.remarks: list[str] = []
        if self._is_counted:
            self.remarks.append(f"stores no times: {float(self._rate):g} frames make a second")

    def _open(self) -> None:
        try:
            require_regular_file(self.path)
            self._container = self._av.open(
                self.path,
                metadata_errors="replace",
                container_options={
                    "format_whitelist": ",".join(_FORMATS),
                    "protocol_whitelist": "file",
                },
            )
        except (self._av.error.FFmpegError, OSError) as error:
            reason = getattr(error, "strerror", None) or error
            raise ImageError(f"{self.path} is not a readable video: {reason}") from error
        best = self._container.streams.best("video")  # the one that players show
        others = (s for s in self._container.streams.video if not _is_thumbnail(s))
        self._stream: Any = next(others, None) if best is None or _is_thumbnail(best) else best
        if self._stream is None:
            self.close()
            raise ImageError(f"{self.path} has no moving pictures, only sound or a cover")
        if self._stream.codec_context is None:
            self.close()
            raise ImageError(f"{self.path} is not a readable video: its codec is not known")
        self.damaged: int = 0
        self._seen: dict[int, int] | None = None
        self._stream.thread_type = "AUTO"
        self._stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}

    def close(self) -> None:
        """Let go of the file."""
        self._container.close()

    def __enter__(self) -> "Film":
        return self

    def __exit__(self, *error) -> None:
        self.close()

    def _restart(self) -> None:
        self.close()
        self._open()

    def count(self, every: int = 1) -> int:
        """About how many frames :meth:`frames` will give."""
        seconds = (self._container.duration or 0) / 1e6
        return max(1, int(self._stream.frames or seconds * float(self._rate)) // every)

    def frames(self, every: int = 1) -> Iterator[tuple[int, float, np.ndarray]]:
        """Each N-th frame from the first one on: its number, second, and (H, W, 3) uint8 BGR.

        A packet that is damaged costs its frame: see :attr:`damaged`.

        Raises:
            ImageError: the film breaks off, or no frame of it can be decoded.
        """
        before, (gap, after) = 0.0, (0.0, 0.0)
        for index, seconds, frame in self._timed():
            gap, after = max((gap, after), (seconds - before, before))
            before = seconds
            if index % every == 0:
                yield index, seconds, _upright(frame)
        if gap > max(_GAP, 10 / self._rate):
            self.remarks.append(f"shows nothing for {gap:.1f} s from {after:.1f} s on")

    def frame_at(self, seconds: float) -> np.ndarray:
        """(H, W, 3) uint8 BGR of the frame that is shown at a second, or of the last one."""
        if not 0 <= seconds < inf:
            raise ImageError(f"{self.path} has no frame at {seconds:g} s")
        frame = None
        if seconds > 0 and self._can_seek():
            frame = self._sought(seconds)
            if frame is None:
                self._restart()
        return _upright(frame if frame is not None else self._counted_to(seconds))

    # -------------------------------------------------------------------------- from the beginning

    def _timed(self) -> Iterator[tuple[int, float, Any]]:
        """Number, second and frame of all sound frames.

        Times have to rise. Where two frames share one, as in 0, 40, 40, 120 ms, the second gets
        the next moment: 0, 40, 40.1, 120. Where a clock begins anew, as where two recordings were
        joined, in 9960, 10000, 0, 40 ms at 25 frames a second, it goes on: 9960, 10000, 10040,
        10080.
        """
        origin, offset, before, step = None, 0.0, None, float(1 / self._rate)
        for index, frame in enumerate(self._decode()):
            if self._is_counted or frame.pts is None:
                seconds = index * step if self._is_counted else (before or 0.0) + step * (index > 0)
            else:
                origin = frame.pts if origin is None else origin
                seconds = float((frame.pts - origin) * frame.time_base) + offset
            if before is not None and seconds <= before:
                if before - seconds >= _JUMP:
                    offset += before + step - seconds
                    seconds = before + step
                else:
                    seconds = before + 1e-4
            before = seconds
            yield index, seconds, frame

    def _decode(self) -> Iterator[Any]:
        """The sound frames from where the film is, in the order in which they are shown."""
        reason: object = "it holds no frame"
        packets = found = 0
        for packet in self._packets():
            packets += packet.size > 0
            try:
                frames = packet.decode()
                is_damaged = packet.is_corrupt
            except (self._av.error.FFmpegError, OSError) as error:
                frames, is_damaged, reason = [], True, error
            for frame in frames:
                is_damaged |= frame.is_corrupt
                if not frame.is_corrupt:
                    found += 1
                    yield frame
            self.damaged += is_damaged
        if not found:
            raise self._unreadable(reason)
        if found + self.damaged < packets * _FEWEST_FRAMES and abs(found * 2 - packets) > 2:
            self.remarks.append(f"shows {found} frames, but stores {packets}")

    def _packets(self) -> Iterator[Any]:
        """The packets from where the film is; ``_seen`` collects their times and checksums."""
        failures, seconds = 0, 0.0
        while True:
            try:
                for packet in self._container.demux(self._stream):
                    failures = 0
                    if packet.pts is not None:
                        seconds = float(packet.pts * packet.time_base)
                        if self._seen is not None:
                            self._seen[packet.pts] = crc32(packet)
                    yield packet
                return
            except (self._av.error.FFmpegError, OSError) as error:
                failures += 1
                if failures == _FAILURES:
                    raise self._unreadable(error, f"breaks off near {seconds:.1f} s") from error

    def _unreadable(self, reason: object, what: str = "is not a readable video") -> ImageError:
        reason = getattr(reason, "strerror", None) or reason
        return ImageError(f"{self.path} {what}: {reason}")

    def _counted_to(self, seconds: float) -> Any:
        """The frame at a second, found from the beginning on, as :meth:`frames` counts it."""
        chosen = None
        for _, at, frame in self._timed():
            if abs(at - seconds) <= _SAME:
                return frame
            if at > seconds + _ROUNDED and chosen is not None:
                break
            chosen = frame
        return chosen

    # ---------------------------------------------------------------------------------- by seeking

    def _has_no_times(self) -> bool:
        """Whether frames have no times; leaves the film at its beginning.

        AVI stores none: where frames are shown in another order than they are stored in, those
        that FFmpeg makes up are of the order of storing.
        """
        name = self._container.format.name
        if name in _KEEP_TIMES:
            return False
        if name == "avi" and self._stream.codec_context.has_b_frames:
            return True
        times = [packet.pts for packet in islice(self._packets(), 64)]
        self._restart()
        return all(time is None for time in times)

    def _can_seek(self) -> bool:
        """Whether every frame has a time of its own, and all are of one clock."""
        return not self._is_counted and self._packets_by_time() is not None

    def _packets_by_time(self) -> Mapping[int, int] | None:
        """Time -> checksum of the packets; {} where times can be trusted, None where not at all."""
        if self._container.format.name in _KEEP_TIMES:
            return {}
        found = os.stat(self.path)
        return _one_clock(self.path, found.st_size, found.st_mtime_ns)

    def _sought(self, seconds: float) -> Any:
        """The frame at a second, found by seeking; None where that is not sure."""
        try:
            first = next(self._decode())
            for back in _STEPS_BACK:
                if back >= seconds or first.pts is None:
                    break
                at = first.pts + int((seconds - back) / first.time_base)
                self._container.seek(at, stream=self._stream, backward=True)
                if frame := self._shown_at(seconds, first):
                    return frame
        except (ImageError, self._av.error.FFmpegError, OSError):
            pass  # the way from the beginning says what is wrong
        return None

    def _shown_at(self, seconds: float, first) -> Any:
        """The frame that is shown at a second, decoded from where the film is, if that is sure.

        * A key frame is shown before it, or is it. What a decoder gives before the first key frame
          that it meets may refer to frames that were not decoded, and be damaged.
        * It is the frame of the packet whose time is the last before the second: one that is lost
          in this way of decoding may be there in another.
        * The packets from that key frame to it have the times that they have when the film is read
          from its beginning: MPEG streams store the time of a few packets only, and those of the
          others, counted on from these, are wrong after a jump.

        Args:
            seconds: from the beginning of the film.
            first: its first frame.
        """
        known, chosen = self._packets_by_time(), None
        begun: int | None = None
        self._seen = {}
        for frame in self._decode():
            if frame.pts is None:
                return None
            if begun is None and not frame.key_frame:
                continue
            at = float((frame.pts - first.pts) * first.time_base)
            if at > seconds + _ROUNDED:
                break
            begun, chosen = begun if chosen else frame.pts, frame
            if abs(at - seconds) <= _SAME:
                break
        if chosen is None or begun is None:
            return None
        latest = first.pts + (seconds + _ROUNDED) / first.time_base
        is_exact = abs((chosen.pts - first.pts) * first.time_base - seconds) <= _SAME
        if not is_exact and chosen.pts != max(t for t in self._seen if t <= latest):
            return None
        between = [(t, check) for t, check in self._seen.items() if begun <= t <= chosen.pts]
        return chosen if not known or all(known.get(t) == c for t, c in between) else None


def _is_thumbnail(stream) -> bool:
    """Whether it is one picture of the film, which players show in a list."""
    return bool(stream.disposition & _ATTACHED_PICTURE)


@lru_cache(maxsize=16)
def _one_clock(path: str, size: int, changed: int) -> Mapping[int, int] | None:
    """Time -> checksum of all packets; None where times stand still or begin anew.

    Reads the whole file, but decodes nothing; ``size`` and ``changed`` are of the file.
    """
    times, stored, checksums = [], [], []
    with Film(path) as film:
        for packet in film._packets():
            if packet.size:
                times.append(packet.pts)
                stored.append(packet.dts if packet.dts is not None else packet.pts)
                checksums.append(crc32(packet))
    if None in times or len({*times}) < len(times) or stored != sorted(stored):
        return None
    return dict(zip(times, checksums, strict=True))


def _upright(frame) -> np.ndarray:
    """(H, W, 3) BGR; a phone that was held upright stores the angle beside the pictures."""
    turns = round(getattr(frame, "rotation", 0) / 90)
    return np.ascontiguousarray(np.rot90(frame.to_ndarray(format="bgr24"), turns))
