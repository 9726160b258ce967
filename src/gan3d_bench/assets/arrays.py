"""Reading a pickle that may hold nothing but numpy arrays in plain containers."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np

from gan3d_bench.errors import UserError

# Files written under numpy 1 name numpy.core, those under numpy 2 numpy._core.
_ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("numpy.core.multiarray", "_reconstruct"): np.zeros(0).__reduce__()[0],
    ("numpy._core.multiarray", "_reconstruct"): np.zeros(0).__reduce__()[0],
}


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return _ALLOWED[module, name]


def load_array_pickle(path: Path) -> Any:
    """Return the nested containers of numpy arrays pickled in `path`. Runs none of its code.

    Raises:
        UserError: the file is not such a pickle: truncated, damaged, or asking for anything else.
    """
    try:
        with path.open("rb") as file:
            return _ArrayUnpickler(file).load()
    except (pickle.UnpicklingError, EOFError, ValueError, TypeError, AttributeError) as error:
        raise UserError(f"{path} is not a pickle of arrays alone: {error}") from error
