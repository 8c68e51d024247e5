"""Keys that earlier versions had: configs that were stored with them can still be read."""

import pytest
from detectron2.config import CfgNode, get_cfg

from person_search import add_person_search_config, read_config
from person_search.config import RETIRED, drop_retired
from person_search.errors import ConfigError


def earlier_dump(**changes) -> str:
    """The whole config, as an earlier version wrote it beside its weights and into galleries."""
    cfg = get_cfg()
    add_person_search_config(cfg)
    for name, value in {**RETIRED, **changes}.items():
        *sections, key = name.split(".")
        node = cfg
        for section in sections:
            node = node[section]
        assert key not in node  # else the key is not retired
        node[key] = value
    return cfg.dump()


def test_a_config_of_an_earlier_version_is_read(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(earlier_dump(), encoding="utf-8")
    default = get_cfg()
    add_person_search_config(default)
    found = read_config(str(path))
    for section in ("REID", "BINET", "CONVNEXT", "DKD", "HYBRID"):
        assert found.MODEL[section] == default.MODEL[section]
    assert found.INPUT == default.INPUT
    stored = CfgNode.load_cfg(earlier_dump())  # as a gallery holds it
    default.merge_from_other_cfg(drop_retired(stored))  # raises where a key is unknown
    assert stored.MODEL.REID.NUM_JITTER == 2  # what was given stays as it is


def test_a_value_that_can_no_longer_be_had_is_refused(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(earlier_dump(**{"MODEL.REID.NUM_JITTER": 5}), encoding="utf-8")
    with pytest.raises(ConfigError, match="MODEL.REID.NUM_JITTER is 5, but is always 2"):
        read_config(str(path))


@pytest.mark.parametrize("values", [{}, {"MODEL": None}, {"MODEL": {"REID": 3}}, {"INPUT": []}])
def test_a_file_without_the_sections_of_retired_keys_is_left_alone(values):
    assert drop_retired(values) == values
