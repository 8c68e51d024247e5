"""Keys that would have no effect are refused; all configs of the project pass."""

import pytest
from detectron2.config import get_cfg

from person_search import read_config
from person_search.config_files import config_names
from person_search.engine.settings import AT_LEAST, WITHOUT_EFFECT, check_settings
from person_search.errors import ConfigError


@pytest.mark.parametrize("name", config_names())
def test_the_project_s_configs_set_nothing_in_vain(name):
    check_settings(read_config(name))


def other_value(key: str) -> object:
    """A value of the type of detectron2's default, and different."""
    value = get_cfg()
    for part in key.split("."):
        value = value[part]
    if isinstance(value, bool):
        return not value
    if isinstance(value, str):
        return f"another_{value}"
    if isinstance(value, (int, float)):
        return value + 1
    return type(value)([*value, *value[:1]] or ["something"])


@pytest.mark.parametrize("key", WITHOUT_EFFECT)
def test_a_key_without_effect_is_refused_with_what_holds_instead(key):
    cfg = read_config("Street/stl_mrfp.yaml", [key, other_value(key)])
    with pytest.raises(ConfigError, match=f"{key} is .* no effect here: ") as failure:
        check_settings(cfg)
    assert WITHOUT_EFFECT[key] in str(failure.value)


@pytest.mark.parametrize(
    "config, key, value",
    [
        ("Street/stl.yaml", "MODEL.RESNETS.NUM_GROUPS", 32),
        ("Street/stl.yaml", "MODEL.RESNETS.DEFORM_ON_PER_STAGE", [False, True, True, True]),
        ("ReID-Pretrain/Street.yaml", "INPUT.RANDOM_FLIP", "none"),
        ("Hybrid-Pretrain/Street.yaml", "INPUT.RANDOM_FLIP", "vertical"),
        ("ReID-Pretrain/Street.yaml", "SOLVER.NESTEROV", True),  # Adam
    ],
)
def test_what_has_no_effect_with_other_keys(config, key, value):
    with pytest.raises(ConfigError, match=f"{key} is .* no effect here"):
        check_settings(read_config(config, [key, value]))


@pytest.mark.parametrize("key, value", [("INPUT.RANDOM_FLIP", "none"), ("SOLVER.NESTEROV", True)])
def test_what_has_an_effect_is_let_through(key, value):
    check_settings(read_config("Street/stl.yaml", [key, value]))


@pytest.mark.parametrize("key, least", AT_LEAST.items())
def test_numbers_below_what_is_possible_are_refused(key, least):
    check_settings(read_config("Street/stl.yaml", [key, least]))
    with pytest.raises(ConfigError, match=f"{key} is {least - 1}; legal: at least {least}"):
        check_settings(read_config("Street/stl.yaml", [key, least - 1]))


def test_a_reference_world_size_divides_the_batch():
    opts = ["SOLVER.IMS_PER_BATCH", 8, "SOLVER.REFERENCE_WORLD_SIZE"]
    check_settings(read_config("Street/stl.yaml", [*opts, 4]))
    with pytest.raises(ConfigError, match="REFERENCE_WORLD_SIZE is 3; legal: a divisor of"):
        check_settings(read_config("Street/stl.yaml", [*opts, 3]))
