"""What a run begins with: parts of the user's own, and configs by name."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from street_runs import arguments, registered, train_net

from person_search.engine import import_parts
from person_search.errors import ConfigError

PARTS = """
from person_search.modeling.identity.base import IDENTITY_HEAD_REGISTRY
from person_search.modeling.identity.softmax import SoftmaxHead


@IDENTITY_HEAD_REGISTRY.register()
class HeadOfMyOwn(SoftmaxHead):
    pass
"""


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Iterator[Path]:
    """The current folder; what is imported from it is forgotten."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path[:])
    yield tmp_path
    for name in ("my_parts", "my_broken_parts"):
        sys.modules.pop(name, None)


def test_a_part_of_the_user_s_own_is_trained(folder, street_root):
    (folder / "my_parts.py").write_text(PARTS)
    with registered(street_root):
        args = arguments(
            *("MODEL.REID.HEAD", "HeadOfMyOwn", "SOLVER.MAX_ITER", 1),
            *("DATASETS.TEST", (), "OUTPUT_DIR", "output"),
            config="Street/stl_mrfp.yaml",
        )
        args.imports = ["my_parts"]
        train_net.main(args)
    assert "HeadOfMyOwn" in (folder / "output" / "log.txt").read_text()
    assert (folder / "output" / "model_final.pth").is_file()


def test_a_module_that_is_not_there_is_named(folder):
    with pytest.raises(ConfigError, match="--import my_parts: there is no such module"):
        import_parts(["my_parts"])
    with pytest.raises(ConfigError, match="--import my.parts: there is no such module"):
        import_parts(["my.parts"])


@pytest.mark.parametrize(
    "text, error", [("import nowhere_at_all", ModuleNotFoundError), ("1 / 0", ZeroDivisionError)]
)
def test_a_mistake_in_a_module_keeps_its_traceback(folder, text, error):
    (folder / "my_broken_parts.py").write_text(text)
    with pytest.raises(error):
        import_parts(["my_broken_parts"])


def test_an_option_behind_the_keys_is_named():
    with pytest.raises(SystemExit) as stop:
        train_net.run(arguments("--import", "my_parts"))
    assert stop.value.code.startswith("ConfigError: --import is no key: options stand before")
