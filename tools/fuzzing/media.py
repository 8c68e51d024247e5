"""Pictures, films, and pictures inside of one big file."""

from pathlib import Path

import numpy as np

from .target import Target

NOISE = np.random.default_rng(0).integers(0, 255, (24, 32, 3), np.uint8)


def write_pictures(folder: Path) -> None:
    """A small picture in each format; HEIF where its package is installed."""
    from PIL import Image

    kinds = ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF"]
    try:
        import pillow_heif

        pillow_heif.register_heif_opener()
        kinds.append("HEIF")
    except ImportError:
        pass
    picture = Image.fromarray(NOISE)
    exif = Image.Exif()
    exif[0x0112] = 6
    exif.get_ifd(0x8769)[0x9003] = "2024:05:01 12:00:00"
    for kind in kinds:
        how = {} if kind in ("GIF", "BMP", "PPM", "JPEG2000") else {"exif": exif}
        picture.save(folder / f"x.{kind.lower()}", kind, **how)
    picture.save(folder / "lzw.tiff", "TIFF", compression="tiff_lzw")
    picture.save(folder / "deflate.tiff", "TIFF", compression="tiff_adobe_deflate")
    picture.save(folder / "progressive.jpeg", "JPEG", progressive=True)
    picture.save(folder / "lossless.webp", "WEBP", lossless=True)


def read_picture(folder: Path, path: Path) -> None:
    """As indexing does."""
    from person_search.gallery.sources import taken
    from person_search.images import image_size, read_image

    taken(str(path))
    image_size(path)
    read_image(str(path))


def write_films(folder: Path) -> None:
    """A small film in several containers."""
    import av

    kinds = {
        "mp4": "libx264",
        "mov": "libx264",
        "ts": "mpeg2video",
        "mkv": "mpeg4",
        "webm": "libvpx-vp9",
        "avi": "mjpeg",
        "mpg": "mpeg1video",
    }
    for suffix, codec in kinds.items():
        with av.open(str(folder / f"x.{suffix}"), "w") as output:
            stream = output.add_stream(codec, rate=25)
            stream.width, stream.height = 64, 48
            stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
            for i in range(12):
                image = np.full((48, 64, 3), 20 * i, np.uint8)
                output.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="bgr24")))
            output.mux(stream.encode())


def read_film(folder: Path, path: Path) -> None:
    """From its beginning, and at a second."""
    from person_search.gallery.sources import SourceFile, frame_size, read_frames, read_scene

    frame_size(SourceFile(str(path)))
    read_scene(str(path), 0.2)
    for _ in read_frames(SourceFile(str(path)), every=3):
        pass


def write_containers(folder: Path) -> None:
    """An LMDB, and an HDF5 file as CUHK03 has it."""
    from looks_alike import save, write_cuhk03_release, write_luperson_lmdb

    save(folder / "one.png", NOISE)
    write_luperson_lmdb(folder / "LUP", {str(k): (folder / "one.png").read_bytes() for k in (1, 2)})
    write_cuhk03_release(folder / "cuhk-03.mat", {(1, k, 9): NOISE for k in (0, 1)})
    (folder / "one.png").unlink()


def read_container(folder: Path, path: Path) -> None:
    """All pictures of it."""
    from person_search.data import containers
    from person_search.images import read_image

    try:
        if path.suffix == ".mat":
            for k in (0, 1):
                read_image(f"mat73://{path}!labeled/1/{k}/9")
        else:
            containers.count_lmdb(path.parent)
            for k in (1, 2):
                read_image(f"lmdb://{path.parent}!{k}")
    finally:
        containers._close_all()


PICTURES = Target(write_pictures, read_picture)
FILMS = Target(write_films, read_film)
CONTAINERS = Target(write_containers, read_container, "**/*m[ad][tb]")
