"""The drawn data, Street, in the layouts of real data sets: read by the readers of these.

    street/small/          PRW/ and CUHK-SYSU/: street_small_{train,test}, street_small_cuhk_{..}
    street/small_noon/     another look, for training alone: street_small_noon_train

datasets/prepare_street.py draws it.
"""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from .crowdhuman import CROWDHUMAN
from .cuhk_sysu import CUHK_SYSU
from .luperson import LUPERSON
from .market1501 import MARKET1501
from .prw import PRW
from .registration import SPLITS, Reader

SIZES = ("tiny", "small", "large")

DOMAINS: dict[str, Reader] = {
    "noon": CROWDHUMAN,
    "night": CROWDHUMAN,
    "dusk": MARKET1501,
    "fog": MARKET1501,
    "web": LUPERSON,
}
"""Other looks, by the reader of the layout that each comes in."""


def street_sets(root: str | Path) -> Iterator[tuple[str, Callable[[str], None]]]:
    """Name of a data set, and what registers it under that name."""
    for size in SIZES:
        folder = Path(root, "street", size)
        remedy = f"Draw it: python datasets/prepare_street.py --size {size}"
        for split in SPLITS:
            for reader, layout in ((PRW, ""), (CUHK_SYSU, "_cuhk")):
                register = partial(reader.register, root=folder, split=split, remedy=remedy)
                yield f"street_{size}{layout}_{split}", register
        for domain, reader in DOMAINS.items():
            folder = Path(root, "street", f"{size}_{domain}")
            remedy = f"Draw it: python datasets/prepare_street.py --size {size} --domains"
            register = partial(reader.register, root=folder, split="train", remedy=remedy)
            yield f"street_{size}_{domain}_train", register
