"""Config files are found by name, read as plain values, and shipped."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml
from fvcore.common.config import CfgNode

from person_search import read_config
from person_search.config_files import CONFIGS, config_names, find_config, load_config_file
from person_search.errors import ConfigError

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture
def write(tmp_path):
    def writer(text: str | bytes, name: str = "mine.yaml") -> Path:
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return writer


@pytest.mark.parametrize("name", ["PRW/stl_mrfp.yaml", "configs/PRW/stl_mrfp.yaml"])
def test_a_name_finds_a_config_from_any_folder(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_config(name) == CONFIGS / "PRW" / "stl_mrfp.yaml"
    assert read_config(name).OUTPUT_DIR == "output/PRW/stl_mrfp"


def test_a_file_of_the_user_comes_before_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "PRW").mkdir()
    (tmp_path / "PRW" / "stl.yaml").write_text("OUTPUT_DIR: mine")
    assert read_config("PRW/stl.yaml").OUTPUT_DIR == "mine"


def test_an_unknown_name_is_answered_with_near_ones():
    with pytest.raises(ConfigError, match="no config file PRW/stl_mfrp.yaml: .*PRW/stl_mrfp.yaml"):
        find_config("PRW/stl_mfrp.yaml")


@pytest.mark.parametrize("name", ["", ".", "PRW", "a\0b", "~nobody/x", "x" * 5000, "../setup.py"])
def test_what_is_no_file_is_a_config_error(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="no config file"):
        find_config(name)


@pytest.mark.parametrize("name", config_names())
def test_a_config_reads_as_detectron2_reads_it(name):
    assert load_config_file(CONFIGS / name) == CfgNode.load_yaml_with_base(str(CONFIGS / name))


def test_a_later_base_overrides_an_earlier_one_and_the_file_overrides_both(write):
    write("A: {x: 1, y: 1, z: 1}", "one.yaml")
    write("A: {x: 2, y: 2}\nB: [2]", "two.yaml")
    path = write("_BASE_: [one.yaml, two.yaml]\nA: {x: 3}")
    assert load_config_file(path) == {"A": {"x": 3, "y": 2, "z": 1}, "B": [2]}


def test_a_config_of_the_user_extends_one_of_the_project_by_its_name(write):
    path = write("_BASE_: PRW/stl_mrfp.yaml\nSOLVER: {EPOCHS: 3}")
    cfg = read_config(str(path))
    assert (cfg.SOLVER.EPOCHS, cfg.MODEL.REID.POOLER) == (3, "MRFP")


def test_what_an_alias_stands_for_is_changed_in_one_place_only(write):
    write("A: &a {x: 1}\nB: *a", "base.yaml")
    path = write("_BASE_: base.yaml\nB: {x: 2}")
    assert load_config_file(path) == {"A": {"x": 1}, "B": {"x": 2}}


HARMFUL = "!!python/object/apply:os.mkdir ['{folder}']"


@pytest.mark.parametrize("place", ["value", "key", "base", "in its base"])
def test_tags_of_python_objects_are_refused_and_never_run(place, write, tmp_path):
    folder = tmp_path / "made"
    harm = HARMFUL.format(folder=folder)
    named = write(f"SOLVER: {{EPOCHS: {harm}}}", "base.yaml")
    text = {
        "value": f"OUTPUT_DIR: {harm}",
        "key": f"? {harm}\n: 1",
        "base": f"_BASE_: {harm}",
        "in its base": f"_BASE_: {named.name}",
    }[place]
    with pytest.raises(ConfigError, match="no tags of Python objects") as failure:
        read_config(str(write(text)))
    assert "\n" not in str(failure.value)
    assert not folder.exists()
    yaml.unsafe_load(harm)
    assert folder.exists()  # it would have been


def test_a_python_config_is_not_run(write, tmp_path):
    path = write(f"import os\nos.mkdir({str(tmp_path / 'made')!r})\n", "lazy.py")
    with pytest.raises(ConfigError, match="not a config"):
        read_config(str(path))
    assert not (tmp_path / "made").exists()


BOMB = [f"a{n}: &a{n} {{x: *a{n - 1}, y: *a{n - 1}}}\n" for n in range(1, 40)]
"""Forty lines that mean 2 ** 40 values."""


@pytest.mark.parametrize(
    "text, said",
    [
        ("_BASE_: mine.yaml", "leads back to itself"),
        ("_BASE_: https://example.org/base.yaml", "_BASE_: no config file https://example.org"),
        ("_BASE_: pipe", "_BASE_: no config file pipe"),
        ("_BASE_: [1]", r"_BASE_ is \[1\]; legal: a file, or a list of files"),
        ("_BASE_: {a: 1}", "_BASE_ is"),
        ("MODEL: {REID: [", "cannot be read as YAML"),
        ("[" * 5000, "cannot be read as YAML"),
        (b"OUTPUT_DIR: \xff\xfe", "cannot be read as YAML"),
        ("", "holds no keys and values"),
        ("just a sentence", "holds no keys and values"),
        ("- MODEL", "holds no keys and values"),
        ("_BASE_: PRW/stl.yaml\nMODEL: 3", "MODEL is a section in one file and a value in another"),
        ("_BASE_: empty.yaml\nMODEL: {REID: 3}", "MODEL is a section in one file and a value"),
        ("VERSION: 1", "VERSION is 1; legal: 2"),
        ("1: 2", "1"),
        ("a0: &a0 {x: 1}\n" + "".join(BOMB), "its aliases expand to too many values"),
        ("MODEL: &m {REID: *m}", "cannot be read as YAML"),
    ],
)
def test_files_that_are_no_configs_are_refused_in_one_line(text, said, write, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    write("MODEL:", "empty.yaml")
    path = write(text)
    with pytest.raises(ConfigError, match=said) as failure:
        read_config(str(path))
    assert str(path) in str(failure.value) and "\n" not in str(failure.value)


def test_a_wheel_carries_the_configs_and_finds_them(tmp_path):
    build = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation"]
    source = tmp_path / "source"  # a build leaves its folders in the source
    source.mkdir()
    for name in ("person_search", "configs", "setup.py", "pyproject.toml", "README.md", "LICENSE"):
        (source / name).symlink_to(REPOSITORY / name)
    subprocess.run([*build, "--no-index", "-w", tmp_path, source], check=True)
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        wheel.extractall(tmp_path / "installed")
    code = "from person_search import config_files as c; print(c.find_config('PRW/stl_mrfp.yaml'))"
    found = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": str(tmp_path / "installed")},
        cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    installed = tmp_path / "installed" / "person_search" / "configs"
    assert found.stdout.strip() == str(installed / "PRW" / "stl_mrfp.yaml")
    files = {path.relative_to(installed) for path in installed.rglob("*.yaml")}
    assert files == {path.relative_to(CONFIGS) for path in CONFIGS.rglob("*.yaml")}
