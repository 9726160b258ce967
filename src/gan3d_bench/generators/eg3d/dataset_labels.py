"""The cameras of somebody's pictures: EG3D's ``dataset.json``."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from gan3d_bench.errors import UserError
from gan3d_bench.files.json_text import parse_json
from gan3d_bench.generators.eg3d.cameras import LABEL_DIM, require_cameras
from gan3d_bench.regular_files import read_regular

LABELS = "dataset.json"
MOST_BYTES = 512 * 2**20  # of it: 140,000 labels of 25 numbers are about 80 MB


def read_labels(path: Path) -> dict[str, Tensor]:
    """Return the cameras (25,) of EG3D's dataset.json by the pictures' names, all checked.

    Raises:
        UserError: missing, damaged or foreign file, labels of another length, or no cameras.
    """
    expected = f'expected {{"labels": [[NAME, [{LABEL_DIM} numbers]], ...]}} of NVlabs/eg3d'
    try:
        rows = parse_json(read_regular(path, MOST_BYTES).decode())["labels"]
        names = [str(name).replace("\\", "/") for name, _ in rows]
        labels = torch.tensor([label for _, label in rows], dtype=torch.float32)
    except (OSError, ValueError, TypeError, KeyError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise UserError(f"{path}: not readable ({reason}); {expected}") from error
    if not names or labels.shape != (len(names), LABEL_DIM):
        raise UserError(f"{path}: labels of shape {tuple(labels.shape)}; {expected}")
    try:
        require_cameras(labels)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    return dict(zip(names, labels, strict=True))
