"""Pictures and videos: which files there are, and the frames in them."""

import glob
import os
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from person_search.errors import GalleryError, ImageError
from person_search.files import optional_module
from person_search.images import read_image

from .persons import to_milliseconds

PICTURES = set(".bmp .gif .jpeg .jpg .jp2 .png .pgm .ppm .tif .tiff .webp".split())
VIDEOS = set(".avi .m4v .mkv .mov .mp4 .mpeg .mpg .mts .ts .webm .wmv".split())
"""Suffixes of the files that are looked for in folders."""

_TAKEN, _OFFSET = 0x9003, 0x9011  # EXIF: DateTimeOriginal, OffsetTimeOriginal
_EXIF_IFD = 0x8769

# Here Pillow reads headers only. OpenCV decodes, and has a limit of its own.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


@dataclass(frozen=True)
class SourceFile:
    """A picture or a video.

    Attributes:
        path: absolute.
        camera: "" unknown.
    """

    path: str
    camera: str = ""

    @property
    def is_video(self) -> bool:
        """By its suffix."""
        return Path(self.path).suffix.lower() in VIDEOS


@dataclass(frozen=True, eq=False)
class Frame:
    """A picture, or one frame of a video.

    Attributes:
        image: (H, W, 3) uint8 BGR, upright.
        index: which frame of its video.
        seconds: since the start of the video.
        time: milliseconds since 1970, or ``NO_TIME``.
    """

    image: np.ndarray
    index: int
    seconds: float
    time: int


def find_files(
    sources: list[str], camera: str | None = None, camera_pattern: str | None = None
) -> list[SourceFile]:
    """The pictures and videos that files, folders (with all below) and glob patterns name.

    Args:
        sources: any of the three.
        camera: of all files; None: the name of each one's folder.
        camera_pattern: regular expression; what it finds in a path (its first group, if it has
            one) is the camera.

    Raises:
        ImageError: a source names nothing.
    """
    paths = []
    for source in sources:
        if os.path.isdir(source):
            found = _in_folder(source)
        elif os.path.exists(source):
            found = [source]
        else:
            found = sorted(p for p in glob.glob(source, recursive=True) if os.path.isfile(p))
        if not found:
            raise ImageError(f"no picture or video in {source}: give a file, folder or pattern")
        paths += map(os.path.abspath, found)
    return [SourceFile(p, _camera(p, camera, camera_pattern)) for p in dict.fromkeys(paths)]


def _in_folder(folder: str) -> list[str]:
    found = []
    for root, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [
            os.path.join(root, name)
            for name in sorted(names)
            if Path(name).suffix.lower() in PICTURES | VIDEOS and not name.startswith(".")
        ]
    return found


def _camera(path: str, camera: str | None, pattern: str | None) -> str:
    if pattern is not None:
        match = re.search(pattern, path)
        return (match.group(1) if match.re.groups else match.group()) or "" if match else ""
    return Path(path).parent.name if camera is None else camera


def read_frames(file: SourceFile, every: int = 1, start: datetime | None = None) -> Iterator[Frame]:
    """The frames of a file.

    Args:
        file: a picture, which is one frame, or a video.
        every: read every N-th frame of a video.
        start: when the video begins, or the picture was taken; None: as the file says.

    Raises:
        ImageError: it cannot be read, or a video breaks off; then after its sound frames.
    """
    if file.is_video:
        yield from _read_video(file.path, every, start)
    else:
        image = read_image(file.path)
        yield Frame(image, 0, 0.0, to_milliseconds(start or taken(file.path)))


def taken(path: str) -> datetime | None:
    """When a picture was taken, by its EXIF data."""
    try:
        with open(path, "rb") as file:
            is_jpeg = file.read(2) == b"\xff\xd8"
        # Opened so, a JPEG may be larger than Pillow would decode, as those of 200 megapixels are.
        with JpegImageFile(path) if is_jpeg else Image.open(path) as image:
            exif = image.getexif().get_ifd(_EXIF_IFD)
        when = datetime.strptime(str(exif[_TAKEN]).strip("\0 "), "%Y:%m:%d %H:%M:%S")
        return datetime.fromisoformat(f"{when.isoformat()}{str(exif.get(_OFFSET, '')).strip()}")
    except (OSError, ValueError, KeyError, SyntaxError, Image.DecompressionBombError):
        return None


def count_frames(file: SourceFile, every: int = 1) -> int:
    """About how many frames :func:`read_frames` will give; for the progress bar."""
    if not file.is_video:
        return 1
    av = optional_module("av", "gallery", GalleryError)
    try:
        with av.open(file.path) as container:
            stream = container.streams.video[0]
            seconds = (container.duration or 0) / 1e6
            return max(1, int(stream.frames or seconds * float(stream.average_rate or 25)) // every)
    except (av.error.FFmpegError, IndexError, OSError):
        return 1


def _read_video(path: str, every: int, start: datetime | None) -> Iterator[Frame]:
    av, seconds = optional_module("av", "gallery", GalleryError), 0.0
    try:
        with av.open(path) as container:
            if not container.streams.video:
                raise ImageError(f"{path} has no pictures, only sound")
            start = start or _creation_time(container.metadata)
            container.streams.video[0].thread_type = "AUTO"
            for index, frame in enumerate(container.decode(video=0)):
                seconds = frame.time or 0.0
                if index % every == 0:
                    when = start and start + timedelta(seconds=seconds)
                    yield Frame(_upright(frame), index, seconds, to_milliseconds(when))
    except (av.error.FFmpegError, OSError) as error:
        reason = getattr(error, "strerror", None) or error
        what = f"breaks off after {seconds:.1f} s" if seconds else "is not a readable video"
        raise ImageError(f"{path} {what}: {reason}") from error


def _upright(frame) -> np.ndarray:
    """(H, W, 3) BGR; a phone that was held upright stores the angle beside the pictures."""
    turns = round(getattr(frame, "rotation", 0) / 90)
    return np.ascontiguousarray(np.rot90(frame.to_ndarray(format="bgr24"), turns))


def _creation_time(metadata: dict) -> datetime | None:
    try:
        when = datetime.fromisoformat(metadata["creation_time"].replace("Z", "+00:00"))
    except (KeyError, ValueError):
        return None
    return when if when.year > 1970 else None  # a camera without a clock writes 1904 or 1970


def read_frame_at(path: str, seconds: float) -> np.ndarray:
    """(H, W, 3) BGR, the frame of a video at that time, or its last one before."""
    av, last = optional_module("av", "gallery", GalleryError), None
    try:
        with av.open(path) as container:
            if not container.streams.video:
                raise ImageError(f"{path} has no pictures, only sound")
            container.seek(int(seconds * 1e6), backward=True)
            for frame in container.decode(video=0):
                last = frame
                if (frame.time or 0.0) >= seconds - 1e-3:
                    break
    except (av.error.FFmpegError, OSError) as error:
        if last is None:
            raise ImageError(f"{path} is not a readable video: {error}") from error
    if last is None:
        raise ImageError(f"{path} has no frame at {seconds:g} s")
    return _upright(last)


def read_scene(path: str, seconds: float = 0.0) -> np.ndarray:
    """(H, W, 3) BGR, a picture, or the frame of a video at that time."""
    return read_frame_at(path, seconds) if SourceFile(path).is_video else read_image(path)
