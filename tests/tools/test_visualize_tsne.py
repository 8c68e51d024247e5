"""tools/visualize_tsne.py: how far sets are apart, by hand, and a picture of drawn ones."""

import sys
from pathlib import Path

import numpy as np
import pytest
from street_runs import registered

from person_search.errors import PersonSearchError
from person_search.street import draw_domain

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))
import visualize_tsne  # noqa: E402  (found through the line above)


def test_the_share_of_neighbors_by_hand():
    angles = np.array([0.0, 0.1, 0.25, 1.5, 1.6])
    rows = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    # Nearest of each: 1, 0, 1, 4, 3.
    assert visualize_tsne.same_set_share(rows, np.array([0, 0, 0, 1, 1])) == 1.0
    assert visualize_tsne.same_set_share(rows, np.array([0, 1, 1, 0, 0])) == pytest.approx(3 / 5)


def test_a_picture_of_two_sets(street_root, tmp_path, monkeypatch, capsys):
    pytest.importorskip("sklearn")
    draw_domain(street_root, "tiny", "night")
    draw_domain(street_root, "tiny", "dusk")
    words = ["--weights", "random", "--number", "4", "--output", str(tmp_path / "tsne.png")]
    names = "('street_tiny_night_train', 'street_tiny_dusk_train')"
    opts = ["DATASETS.TRAIN", names, "MODEL.RESNETS.STEM_OUT_CHANNELS", "16"]
    opts += ["MODEL.RESNETS.RES2_OUT_CHANNELS", "16", "INPUT.MIN_SIZE_TEST", "96"]
    config = str(ROOT / "configs" / "Hybrid-Pretrain" / "Street.yaml")
    line = ["visualize_tsne.py", "--config-file", config, *words, "--", *opts]
    monkeypatch.setattr(sys, "argv", line)
    with registered(street_root):
        visualize_tsne.main()
    assert (tmp_path / "tsne.png").read_bytes().startswith(b"\x89PNG")
    assert "8 persons of 2 sets" in capsys.readouterr().out


def test_a_wrong_name_is_an_error_in_one_line(monkeypatch):
    pytest.importorskip("sklearn")
    config = str(ROOT / "configs" / "Hybrid-Pretrain" / "Street.yaml")
    line = ["visualize_tsne.py", "--config-file", config, "--weights", "random", "--"]
    monkeypatch.setattr(sys, "argv", [*line, "DATASETS.TRAIN", "('nowhere',)"])
    with pytest.raises(PersonSearchError, match="no data set is called nowhere"):
        visualize_tsne.main()
