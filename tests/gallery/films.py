"""Films for tests: each frame shows its number, so that it can be recognized."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

WIDTH, HEIGHT = 96, 64
BITS = 12

QUIET = {"x264-params": "log-level=none", "x265-params": "log-level=none"}


def picture(number: int) -> np.ndarray:
    """(64, 96, 3) BGR: a number as light and dark fields, and a white corner top left."""
    image = np.full((HEIGHT, WIDTH, 3), 40, np.uint8)
    for bit in range(BITS):
        if number >> bit & 1:
            y, x = 16 + bit // 6 * 24, bit % 6 * 16
            image[y : y + 24, x : x + 16] = 200
    image[:16, :16] = 255
    return image


def number(image: np.ndarray) -> int:
    """The number that a frame shows."""
    found = 0
    for bit in range(BITS):
        y, x = 16 + bit // 6 * 24, bit % 6 * 16
        found |= int(image[y + 6 : y + 18, x + 4 : x + 12].mean() > 120) << bit
    return found


def film(
    path: Path,
    frames: int = 20,
    rate: int = 10,
    codec: str = "mjpeg",
    created: str = "",
    container: str | None = None,
    times: Sequence[int] | None = None,
    options: dict[str, str] | None = None,
    muxing: dict[str, str] | None = None,
    thumbnail: bool = False,
) -> Path:
    """A film of 96x64 pixels.

    Args:
        path: of the file; its suffix decides the container, if that is not given.
        frames: how many.
        rate: frames a second.
        codec: name of the encoder.
        created: its creation time.
        container: name of FFmpeg's muxer.
        times: of the frames, in milliseconds, if the rate varies.
        options: of the encoder.
        muxing: options of the muxer.
        thumbnail: put a picture of the film before the film.
    """
    with av.open(str(path), "w", format=container, options=muxing or {}) as output:
        if created:
            output.metadata["creation_time"] = created
        if thumbnail:
            cover = output.add_stream("mjpeg", rate=1)
            cover.width, cover.height, cover.pix_fmt = 160, 120, "yuvj420p"
            cover.disposition = av.stream.Disposition.attached_pic
        stream = output.add_stream(codec, rate=rate, options=options or {})
        stream.width, stream.height = WIDTH, HEIGHT
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        if times:
            stream.codec_context.time_base = Fraction(1, 1000)
        if thumbnail:
            white = np.full((120, 160, 3), 255, np.uint8)
            output.mux(cover.encode(av.VideoFrame.from_ndarray(white, format="bgr24")))
            output.mux(cover.encode())
        for i in range(frames):
            frame = av.VideoFrame.from_ndarray(picture(i), format="bgr24")
            if times:
                frame.pts, frame.time_base = times[i], Fraction(1, 1000)
            output.mux(stream.encode(frame))
        output.mux(stream.encode())
    return path
