"""The files of a pack on the disk: there, whole, and what they say they are.

Nothing of a pack is ever unpickled: its networks are ONNX or OpenVINO files. A file is hashed
before a runtime is given it.
"""

import hashlib
import re
from pathlib import Path

from person_search.errors import PackError

from .spec import PackFile, PackSpec

_PICKLE, _ZIP = b"\x80", b"PK\x03\x04"
"""How pickles begin, and PyTorch's checkpoints, which are zip files that hold one."""

# ONNX keeps external data as a list of entries, each a key and a value with their lengths before
# them: \x0a\x08location\x12\x09model.bin. That is all that has to be read of the format.
_LOCATION = re.compile(rb"\x0a\x08location\x12([\x80-\xff]*[\x00-\x7f])", re.DOTALL)


def file_hash(path: Path) -> str:
    """sha256 of a file, 64 hexadecimal digits.

    Raises:
        OSError: it cannot be read.
    """
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def check_files(spec: PackSpec, folder: Path) -> str:
    """See that every file of a pack is there, as its hash says, and a network where it must be.

    Returns:
        One hash over all files, 16 digits.

    Raises:
        PackError: names the file, and what to do.
    """
    digests = [check_file(folder / name, entry) for name, entry in sorted(spec.files.items())]
    for key, name in spec.models.items():
        check_is_network(folder / name, key)
        if name.endswith(".xml") and weights_of(folder / name).name not in spec.files:
            raise PackError(f"{folder}: {weights_of(Path(name))} is missing among files: {key}")
        for location in external_data(folder / name):
            if location not in spec.files:
                raise PackError(
                    f"{folder / name} keeps weights in {location!r}, which is not among the files "
                    "of its pack: take a network whose data lie beside it, and list them there"
                )
    return hashlib.sha256("".join(digests).encode()).hexdigest()[:16]


def check_file(path: Path, entry: PackFile) -> str:
    """The sha256 of a file of a pack, which must be one of those that ``entry`` knows."""
    remedy = "get it again from where the pack came from"
    if not entry.sha256:
        raise PackError(f"{path.parent}: files.{path.name}.sha256 is missing: a pack names it")
    try:
        digest = file_hash(path)
    except FileNotFoundError:
        raise PackError(f"{path} is missing: {remedy}") from None
    except OSError as error:
        raise PackError(f"{path} cannot be read: {error.strerror or error}") from error
    if digest not in entry.sha256:
        size = path.stat().st_size
        raise PackError(
            f"{path} ({size} bytes) is damaged, cut short or another file: its sha256 is "
            f"{digest[:16]}..., not {entry.sha256[0][:16]}...: {remedy}"
        )
    return digest


def check_is_network(path: Path, key: str) -> None:
    """Raises PackError where a model file is of a kind that is never loaded."""
    with open(path, "rb") as file:
        start = file.read(4)
    if start.startswith(_PICKLE) or start == _ZIP:
        raise PackError(
            f"{path} ({key}) is a PyTorch file or another pickle, which can run programs: a pack "
            "takes networks as ONNX (.onnx) or OpenVINO (.xml and .bin); export it first"
        )
    if path.suffix not in (".onnx", ".xml"):
        raise PackError(f"{path} ({key}): a network is a file .onnx, or .xml with its .bin")
    if (path.suffix == ".xml") != start.lstrip(b"\xef\xbb\xbf \r\n").startswith(b"<"):
        raise PackError(f"{path} ({key}) is not what the end of its name says")


def weights_of(xml: Path) -> Path:
    """The file with the weights of an OpenVINO network."""
    return xml.with_suffix(".bin")


def external_data(model: Path) -> set[str]:
    """Where an ONNX file says that its weights lie, if they are not in it."""
    if model.suffix != ".onnx":
        return set()
    content, found = model.read_bytes(), set()
    for match in _LOCATION.finditer(content):
        length = _varint(match.group(1))
        found.add(content[match.end() : match.end() + length].decode("utf-8", "replace"))
    return found


def _varint(data: bytes) -> int:
    """Seven bits a byte, the lowest first: b"\\xac\\x02" -> 0x2c + (2 << 7) = 300."""
    return sum((byte & 0x7F) << (7 * place) for place, byte in enumerate(data))
