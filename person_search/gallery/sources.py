"""Pictures and films: which files there are, and the frames in them."""

import glob
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np

from person_search.errors import ImageError
from person_search.images import image_size, open_header, read_image
from person_search.tally import Tally

from .films import Film
from .persons import to_milliseconds

PICTURES = set(
    ".avif .bmp .gif .heic .heif .hif .j2k .jfif .jp2 .jpe .jpeg .jpg .pbm .pgm .png .pnm .ppm "
    ".tif .tiff .webp".split()
)
VIDEOS = set(
    ".264 .265 .3g2 .3gp .asf .avi .divx .dv .f4v .flv .h264 .h265 .hevc .m2t .m2ts .m2v .m4v "
    ".mjpeg .mjpg .mkv .mod .mov .mp4 .mpe .mpeg .mpg .mts .mxf .ogv .qt .tod .ts .vob "
    ".webm .wmv".split()
)
"""Suffixes of the files that are looked for in folders."""

_TAKEN, _OFFSET = 0x9003, 0x9011  # EXIF: DateTimeOriginal, OffsetTimeOriginal
_EXIF_IFD = 0x8769


@dataclass(frozen=True)
class SourceFile:
    """A picture or a film.

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

    @property
    def kind(self) -> str:
        """What a tally counts it as."""
        return "films" if self.is_video else "pictures"


@dataclass
class FoundFiles:
    """What sources name.

    Attributes:
        files: the pictures and films, each once.
        tally: what else was there, and why it is not among the files.
        problems: (path, reason) of folders that could not be looked into.
    """

    files: list[SourceFile] = field(default_factory=list)
    tally: Tally = field(default_factory=Tally)
    problems: list[tuple[str, str]] = field(default_factory=list)

    def __iter__(self) -> Iterator[SourceFile]:
        return iter(self.files)

    def __len__(self) -> int:
        return len(self.files)


@dataclass(frozen=True, eq=False)
class Frame:
    """A picture, or one frame of a film.

    Attributes:
        image: (H, W, 3) uint8 BGR, upright.
        index: which frame of its film.
        seconds: since the first frame of the film.
        time: milliseconds since 1970, or ``NO_TIME``.
    """

    image: np.ndarray
    index: int
    seconds: float
    time: int


def find_files(
    sources: list[str], camera: str | None = None, camera_pattern: str | None = None
) -> FoundFiles:
    """The pictures and films that files, folders (with all below) and glob patterns name.

    Links are followed. A file or folder that is reached under two names is taken under the first,
    so that a link to a folder above neither goes round in circles nor doubles anything.

    Args:
        sources: any of the three.
        camera: of all files; None: the name of each one's folder.
        camera_pattern: regular expression; what it finds in a path (its first group, if it has
            one) is the camera.

    Raises:
        ImageError: a source names nothing.
    """
    search = _Search()
    for source in sources:
        before = search.met
        if os.path.isdir(source):
            search.folder(os.path.abspath(source))
        elif os.path.lexists(source):
            search.file(os.path.abspath(source))
        else:
            for path in sorted(glob.glob(source, recursive=True)):
                look = search.folder if os.path.isdir(path) else search.any_file
                look(os.path.abspath(path))
        if search.met == before:
            what = f"\n{search.found.tally}" if search.found.tally.left_out() else ""
            reasons = "".join(f"; {reason}" for _, reason in search.found.problems)
            raise ImageError(
                f"no picture or video in {source}: give a file, folder or pattern{reasons}{what}"
            )
    search.found.files = [
        SourceFile(path, _camera(path, camera, camera_pattern)) for path in search.paths
    ]
    return search.found


class _Search:
    """Files and folders that were met, each once.

    Attributes:
        paths: of the pictures and films, in the order in which they were met.
        met: how many of these were met, a second name of the same one counted.
        found: what else was met.
    """

    def __init__(self):
        self.paths: list[str] = []
        self.met = 0
        self.found = FoundFiles()
        self._files: dict[tuple[int, int] | str, str] = {}  # identity -> its first name
        self._folders: dict[tuple[int, int] | str, str] = {}

    def file(self, path: str) -> None:
        """A file, whatever its suffix."""
        self.met += 1
        first = self._files.setdefault(_identity(path), path)
        if first is path:
            self.paths.append(path)
        elif first != path:
            kind = SourceFile(path).kind
            self.found.tally.leave(kind, "another name of a file above", f"{path} is {first}")

    def any_file(self, path: str) -> None:
        """A file, if it is a picture or film by its suffix."""
        name = os.path.basename(path)
        suffix = Path(name).suffix.lower()
        if name.startswith("."):
            self.found.tally.leave("files", "hidden", path)
        elif suffix in PICTURES or suffix in VIDEOS:
            self.file(path)
        else:
            self.found.tally.leave("files", f"suffix {suffix}" if suffix else "no suffix", path)

    def folder(self, top: str) -> None:
        """All that is below a folder; names in order, and files before folders."""
        waiting = [top]
        while waiting:
            folder = waiting.pop()
            first = self._folders.setdefault(_identity(folder), folder)
            if first is not folder:
                self.met += 1
                if first != folder:
                    example = f"{folder} is {first}"
                    self.found.tally.leave("folders", "another name of a folder above", example)
                continue
            if _is_above(folder, top):
                self.found.tally.leave("folders", "a link to a folder above", folder)
                continue
            try:
                entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
            except OSError as error:
                reason = f"{folder} cannot be listed: {error.strerror or error}"
                self.found.problems.append((folder, reason))
                self.found.tally.leave("folders", "cannot be listed", folder)
                continue
            folders = []
            for entry in entries:
                if not os.path.isdir(entry.path):
                    self.any_file(entry.path)
                elif entry.name.startswith("."):
                    self.found.tally.leave("folders", "hidden", entry.path)
                else:
                    folders.append(entry.path)
            waiting += reversed(folders)


def _identity(path: str) -> tuple[int, int] | str:
    """The same for all names of one file or folder; some file systems number none."""
    try:
        found = os.stat(path)
    except OSError:
        return path
    return (found.st_dev, found.st_ino) if found.st_ino else os.path.realpath(path)


def _is_above(folder: str, top: str) -> bool:
    """Whether a folder below ``top`` is a link to what holds ``top``."""
    folder, top = os.path.realpath(folder), os.path.realpath(top)
    return folder != top and os.path.commonpath([folder, top]) == folder


def _camera(path: str, camera: str | None, pattern: str | None) -> str:
    if pattern is not None:
        match = re.search(pattern, path)
        return (match.group(1) if match.re.groups else match.group()) or "" if match else ""
    return Path(path).parent.name if camera is None else camera


def read_frames(
    file: SourceFile,
    every: int = 1,
    start: datetime | None = None,
    remarks: list[str] | None = None,
) -> Iterator[Frame]:
    """The frames of a file.

    Args:
        file: a picture, which is one frame, or a film.
        every: each N-th frame of a film.
        start: when the film begins, or the picture was taken; None: as the file says.
        remarks: gets what is to be known about the frames and times of a film.

    Raises:
        ImageError: it cannot be read, or not all of it; then after its sound frames.
    """
    if not file.is_video:
        image = read_image(file.path)
        yield Frame(image, 0, 0.0, to_milliseconds(start or taken(file.path)))
        return
    with Film(file.path) as film:
        start = start or _creation_time(film.metadata)
        try:
            for index, seconds, image in film.frames(every):
                when = start and start + timedelta(seconds=seconds)
                yield Frame(image, index, seconds, to_milliseconds(when))
        finally:
            if remarks is not None:
                remarks += [f"{file.path} {remark}" for remark in film.remarks]
        if film.damaged:
            raise ImageError(
                f"{file.path} is damaged: {film.damaged} of its packets, whose frames are missing"
            )


def taken(path: str) -> datetime | None:
    """When a picture was taken, by its EXIF data."""
    try:
        with open_header(path) as header:
            exif = header.getexif().get_ifd(_EXIF_IFD)
            text = str(exif[_TAKEN]).strip("\0 ")
            when = datetime.strptime(text, "%Y:%m:%d %H:%M:%S")
            offset = str(exif.get(_OFFSET, "")).strip("\0 ")
            return datetime.fromisoformat(f"{when.isoformat()}{offset}")
    except ImageError:
        return None


def count_frames(file: SourceFile, every: int = 1) -> int:
    """About how many frames :func:`read_frames` will give; for the progress bar."""
    if not file.is_video:
        return 1
    try:
        with Film(file.path) as film:
            return film.count(every)
    except ImageError:
        return 1


def frame_size(file: SourceFile) -> tuple[int, int]:
    """(height, width) of the frames of a file, by its header.

    Raises:
        ImageError: it cannot be read.
    """
    if not file.is_video:
        return image_size(file.path)
    with Film(file.path) as film:
        return film.size


def _creation_time(metadata: dict) -> datetime | None:
    try:
        when = datetime.fromisoformat(metadata["creation_time"].replace("Z", "+00:00"))
    except (KeyError, ValueError):
        return None
    return when if when.year > 1970 else None  # a camera without a clock writes 1904 or 1970


def read_scene(path: str, seconds: float = 0.0) -> np.ndarray:
    """(H, W, 3) BGR, a picture, or the frame that a film shows at a second.

    Raises:
        ImageError: it cannot be read.
    """
    if not SourceFile(path).is_video:
        return read_image(path)
    with Film(path) as film:
        return film.frame_at(seconds)
