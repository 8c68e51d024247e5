"""A few changes of a file, at places drawn at random."""

import io
import random
import re
import zipfile

TEXTS = (".json", ".jsonl", ".yaml", ".xml", ".txt", ".odgt", ".csv")

VALUES = (
    'null [] {} -1 1e999 NaN "x" true 3.5 "" [[[]]] 1e308 <a/> 0 99999999999999999999 "-1" ../.. /'
).split() + ["1" * 40, "\x00", "\ufeff", ","]


def mutate(name: str, content: bytes, chance: random.Random) -> bytes:
    """A mutant of the content of a file, as its name and content suggest.

    Half of the texts get other values, and half of the zip files (checkpoints, ``.npz``) other
    content of one of their members: a change of the file itself is found by a checksum.
    """
    if chance.random() < 0.5:
        if name.endswith(TEXTS):
            return mutate_text(content, chance)
        if content[:4] == b"PK\x03\x04":
            return mutate_member(content, chance)
    return mutate_bytes(content, chance)


def mutate_bytes(content: bytes, chance: random.Random) -> bytes:
    """Bytes changed, cut out, doubled or cut off; headers are hit as often as all the rest."""
    data = bytearray(content)
    for _ in range(chance.choice((1, 1, 2, 4, 16))):
        end = len(data) if chance.random() < 0.5 else min(len(data), 256)
        at, length = chance.randrange(max(1, end)), chance.choice((1, 2, 4, 32))
        kind = chance.randrange(5)
        if kind == 0:
            data[at : at + length] = chance.randbytes(length)
        elif kind == 1:
            data[at : at + length] = bytes([chance.choice((0, 255, 127, 128))]) * length
        elif kind == 2:
            del data[at : at + length]
        elif kind == 3:
            data[at:at] = data[at : at + length]
        elif chance.random() < 0.3:
            del data[at:]
    return bytes(data)


def mutate_text(content: bytes, chance: random.Random) -> bytes:
    """Some values replaced, some bytes replaced, left out or added."""
    data = bytearray(content)
    for _ in range(chance.randint(1, 4)):
        at, kind = chance.randrange(len(data) + 1), chance.random()
        values = list(re.finditer(rb'"[^"]*"|-?\d+(\.\d+)?|true|false|null', bytes(data)))
        if kind < 0.5 and values:
            found = chance.choice(values)
            data[found.start() : found.end()] = chance.choice(VALUES).encode()
        elif kind < 0.7 and data:
            data[at % len(data)] = chance.randrange(256)
        elif kind < 0.9:
            del data[at : at + chance.randint(1, 20)]
        else:
            data[at:at] = chance.choice(VALUES).encode()
    return bytes(data)


def mutate_member(content: bytes, chance: random.Random) -> bytes:
    """A zip file with a mutant of one member, or without it, and the right checksums."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    chosen = chance.choice(sorted(members))
    if chance.random() < 0.1:
        del members[chosen]
    else:
        members[chosen] = mutate_bytes(members[chosen], chance)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, member in members.items():
            archive.writestr(name, member)
    return file.getvalue()
