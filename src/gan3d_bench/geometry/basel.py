"""The Basel Face Model 2009 from the files researchers have, and its fitting tool's camera.

File contents, conversion, pose and projection are those of ascust/3DMM-Fitting-Pytorch
(convert_bfm09_data.py, core/BFM09Model.py, core/BaseModel.py). Axes: x right, y up, z to the
viewer; decimetres.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gan3d_bench.errors import UserError
from gan3d_bench.geometry.morphable_model import HEADS_ASSET, MorphableModel
from gan3d_bench.geometry.views import euler_matrix

CONVERTED_NAMES = ("BFM09_model_info.mat", "BFM_model_front.mat")
CONVERTED_KEYS = ("meanshape", "meantex", "idBase", "exBase", "texBase", "tri", "keypoints",
                  "skinmask")  # fmt: skip
RAW_KEYS = {
    "01_MorphableModel.mat": ("shapeMU", "shapePC", "shapeEV", "texMU", "texPC", "texEV"),
    "BFM_front_idx.mat": ("idx",),
    "BFM_exp_idx.mat": ("trimIndex",),
    "facemodel_info.mat": ("tri", "keypoints", "skinmask"),
}
EXPRESSION_VERTICES = 53215
NUM_IDENTITY, NUM_EXPRESSION, NUM_ALBEDO = 80, 64, 80
MICROMETRES = 1e5  # to decimetres


def open_model(name: str | Path | None = None) -> MorphableModel:
    """A morphable model: the bundled heads (``heads`` or None), or the Basel Face Model at a path.

    Raises:
        UserError: it is missing or damaged.
    """
    return MorphableModel.load_heads() if name in (None, HEADS_ASSET) else load_basel(name)


def load_basel(path: str | Path) -> MorphableModel:
    """The Basel Face Model of a converted file, or of a folder with one or with the raw files.

    Args:
        path: a file ``BFM09_model_info.mat`` or ``BFM_model_front.mat``, or a folder with one of
            them or with all of ``01_MorphableModel.mat``, ``Exp_Pca.bin``, ``std_exp.txt``,
            ``BFM_front_idx.mat``, ``BFM_exp_idx.mat`` and ``facemodel_info.mat``.

    Raises:
        UserError: missing or damaged file, with its path and the keys expected.
    """
    path = Path(path)
    if path.is_dir():
        for name in CONVERTED_NAMES:
            if (path / name).is_file():
                return _build(read_mat(path / name, CONVERTED_KEYS), path / name)
        if not (path / "01_MorphableModel.mat").is_file():
            raise UserError(
                f"{path}: no Basel model here; expected {' or '.join(CONVERTED_NAMES)} "
                f"(keys {', '.join(CONVERTED_KEYS)}), or the raw files "
                f"{', '.join(RAW_KEYS)}, Exp_Pca.bin, std_exp.txt"
            )
        return _build(convert(path), path)
    return _build(read_mat(path, CONVERTED_KEYS), path)


def read_mat(path: Path, keys: tuple[str, ...]) -> dict[str, np.ndarray]:
    """The named arrays of a MATLAB file.

    Raises:
        UserError: no such file, not a MATLAB file, or keys missing.
    """
    from scipy.io import loadmat

    if not path.is_file():
        raise UserError(f"{path}: no such file; expected a MATLAB file with {', '.join(keys)}")
    try:
        data = loadmat(path, variable_names=keys)
    except Exception as error:  # scipy's reader raises many kinds on damaged files
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(
            f"{path}: not a readable MATLAB file ({reason}); expected keys {', '.join(keys)}"
        ) from None
    missing = [key for key in keys if key not in data]
    if missing:
        raise UserError(f"{path}: lacks {', '.join(missing)}; expected keys {', '.join(keys)}")
    return {key: np.asarray(data[key]) for key in keys}


def convert(folder: Path) -> dict[str, np.ndarray]:
    """Raw BFM 2009 files -> the arrays of a converted file (``convert_bfm09_data.py``).

    Bases are scaled by their standard deviations, cut to the first 80 / 64 / 80 components and to
    the front of the face.
    """
    raw: dict[str, np.ndarray] = {}
    for name, keys in RAW_KEYS.items():
        raw |= read_mat(folder / name, keys)
    expression = _expression_basis(folder)
    front = raw["idx"].astype(np.int64).ravel() - 1
    try:
        in_shape = raw["trimIndex"].astype(np.int64).ravel()[front] - 1

        def rows(matrix: np.ndarray, vertices: np.ndarray) -> np.ndarray:
            per_vertex = matrix.reshape(-1, 3, matrix.shape[-1])
            return per_vertex[vertices].reshape(-1, matrix.shape[-1]).astype(np.float32)

        identity = raw["shapePC"][:, :NUM_IDENTITY] * raw["shapeEV"].ravel()[:NUM_IDENTITY]
        texture = raw["texPC"][:, :NUM_ALBEDO] * raw["texEV"].ravel()[:NUM_ALBEDO]
        return {
            "meanshape": rows(raw["shapeMU"].reshape(-1, 1) / MICROMETRES, in_shape).T,
            "meantex": rows(raw["texMU"].reshape(-1, 1), in_shape).T,
            "idBase": rows(identity / MICROMETRES, in_shape),
            "exBase": rows(expression, front),
            "texBase": rows(texture, in_shape),
            **{key: raw[key] for key in ("tri", "keypoints", "skinmask")},
        }
    except (IndexError, ValueError) as error:
        raise UserError(
            f"{folder}: the raw Basel files do not fit together ({error}); expected 53490 shape "
            f"vertices, {EXPRESSION_VERTICES} expression vertices and indices into them"
        ) from None


def _expression_basis(folder: Path) -> np.ndarray:
    """``Exp_Pca.bin`` times ``std_exp.txt``: (3 * 53215, 64) decimetres; its mean is not used."""
    path, deviations_path = folder / "Exp_Pca.bin", folder / "std_exp.txt"
    for each in (path, deviations_path):
        if not each.is_file():
            raise UserError(f"{each}: no such file; the raw Basel model needs it for expressions")
    try:
        deviations = np.loadtxt(deviations_path).ravel()
    except ValueError as error:
        raise UserError(f"{deviations_path}: expected 79 numbers ({error})") from None
    with path.open("rb") as file:
        count = int(np.fromfile(file, np.int32, 1).sum())
        values = np.fromfile(file, np.float32)
    length = 3 * EXPRESSION_VERTICES
    if not 0 < count <= len(deviations) or len(values) != (count + 1) * length:
        raise UserError(
            f"{path}: damaged; expected int32 n (at most {len(deviations)}) and "
            f"(n + 1) * {length} float32, got n = {count} and {len(values)}"
        )
    basis = values[length:].reshape(count, length).T
    used = min(NUM_EXPRESSION, count)
    return basis[:, :used] * deviations[:used] / MICROMETRES


def _build(data: dict[str, np.ndarray], path: Path) -> MorphableModel:
    def real(key: str) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(data[key], dtype=np.float32))

    try:
        mean = real("meanshape").view(-1, 3)
        count = len(mean)

        def basis(key: str) -> Tensor:
            return real(key).t().reshape(-1, count, 3).contiguous()

        faces = torch.from_numpy(data["tri"].astype(np.int64) - 1)
        landmarks = torch.from_numpy(data["keypoints"].astype(np.int64).ravel() - 1)
        region = torch.from_numpy(data["skinmask"].ravel() > 0.5)
        bad = [
            name
            for name, value in (("tri", faces), ("keypoints", landmarks))
            if value.min() < 0 or value.max() >= count
        ]
        if bad or faces.dim() != 2 or faces.shape[1] != 3 or len(region) != count:
            raise RuntimeError(f"{', '.join(bad) or 'tri or skinmask'} does not fit meanshape")
        return MorphableModel(
            name="basel",
            mean=mean - mean.mean(0),
            identity_basis=basis("idBase"),
            expression_basis=basis("exBase"),
            faces=faces,
            # 0..255 in the files, [-1, 1] here.
            albedo_mean=real("meantex").view(-1, 3) / 127.5 - 1,
            albedo_basis=basis("texBase") / 127.5,
            landmarks=landmarks,
            face_region=region,
        )
    except (RuntimeError, ValueError) as error:
        raise UserError(
            f"{path}: the arrays of this Basel model do not fit together ({error}); expected "
            "meanshape [1, 3V], idBase [3V, 80], exBase [3V, 64], meantex [1, 3V], "
            "texBase [3V, 80], tri [F, 3], skinmask [1, V]"
        ) from None


@dataclass(frozen=True)
class BaselCamera:
    """Pose and projection of the fitting tool (``core/BaseModel.py``).

    The camera stands on +z, `distance` decimetres away, looking at the origin.

    Attributes:
        image_size: pixels per side; the principal point is ``image_size // 2``.
        focal: pixels; belongs to the image size of the fit.
        distance: decimetres.
    """

    image_size: int = 224
    focal: float = 1015.0
    distance: float = 10.0

    @staticmethod
    def rotation(angles: Tensor) -> Tensor:
        """Angles x, y, z (B, 3) in radians -> (B, 3, 3) that right-multiplies rows of vertices."""
        return euler_matrix(*angles.unbind(1)).transpose(1, 2)

    def transform(self, vertices: Tensor, angles: Tensor, translation: Tensor) -> Tensor:
        """(B, V, 3) turned by angles (B, 3) in radians and moved by (B, 3)."""
        return vertices @ self.rotation(angles) + translation[:, None]

    def project(self, points: Tensor) -> Tensor:
        """(..., 3) posed points -> (..., 2) pixels, x right and y down."""
        depth = self.distance - points[..., 2:]
        centre = self.image_size // 2
        plane = self.focal * points[..., :2] / depth + centre
        return torch.stack((plane[..., 0], self.image_size - plane[..., 1]), -1)
