"""Files of MATLAB 5."""

from pathlib import Path

import numpy as np
from scipy.io import loadmat, whosmat

from person_search.errors import DatasetError

from .disk import parsing


def load_mat(path: Path, *variables: str) -> np.ndarray:
    """The first of ``variables`` that a MATLAB v5 file holds."""
    with parsing(path), path.open("rb") as file:
        contents = loadmat(file, variable_names=variables)
        for variable in variables:
            if variable in contents:
                return contents[variable]
        found = ", ".join(name for name, _, _ in whosmat(file)) or "nothing"
        raise DatasetError(f"{path} holds {found}, not {' or '.join(variables)}")


def unpack_strings(cells: np.ndarray) -> list[str]:
    """The strings of a MATLAB cell array, in column order."""
    return [str(cell.item()) for cell in cells.ravel()]
