"""Films for tests: each frame is of one gray, so that it can be recognized."""

from pathlib import Path

import av
import numpy as np


def film(
    path: Path, frames: int = 20, rate: int = 10, codec: str = "mjpeg", created: str = ""
) -> Path:
    """A video of 96x64 pixels whose frame i has the gray 10 i, and a white corner top left."""
    with av.open(str(path), "w") as container:
        if created:
            container.metadata["creation_time"] = created
        stream = container.add_stream(codec, rate=rate)
        stream.width, stream.height = 96, 64
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        for i in range(frames):
            image = np.full((64, 96, 3), 10 * i, np.uint8)
            image[:16, :16] = 255
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="bgr24")))
        container.mux(stream.encode())
    return path


def gray(image: np.ndarray) -> int:
    """The number of the frame that an image is of."""
    return round(float(image[32:, 32:].mean()) / 10)
