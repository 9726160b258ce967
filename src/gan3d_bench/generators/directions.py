"""Directions of W that move pictures in ways people can name: without labels, and by yaw."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gan3d_bench.assets.store import asset_path
from gan3d_bench.errors import UserError
from gan3d_bench.files.atomic import write_errors
from gan3d_bench.files.json_text import parse_json
from gan3d_bench.files.run_folder import write_json
from gan3d_bench.files.weights import read_weights, save_weights
from gan3d_bench.generators.base import Generator
from gan3d_bench.generators.latents import sample_z
from gan3d_bench.generators.names import pretrained

CHUNK = 4096
FOLDS = 5  # of the cross-validation
WEIGHTS, CARD = "directions.safetensors", "card.json"
PURPOSE = "directions of w"
KINDS = ("regression", "hyperplane", "sefa", "ganspace")


def sefa(generator: Generator, count: int) -> Tensor:
    """Directions by closed-form factorisation (SeFa, Shen and Zhou 2021, eq. 5).

    The unit vectors that the affine layers stretch most: right singular vectors of their raw
    weights stacked (rosinality/stylegan2-pytorch, closed_form_factorization.py); see
    `semantic_directions`.

    Returns:
        (count, w_dim) unit vectors, strongest first, the entry of largest magnitude positive.

    Raises:
        ValueError: `count` is not within 1..w_dim.
    """
    _require(generator, count)
    return semantic_directions(generator)[1].T[:count]


@torch.no_grad()
def ganspace(generator: Generator, samples: int, count: int, rng: torch.Generator) -> Tensor:
    """Directions by principal components of w (GANSpace, Härkönen et al. 2020, section 2.2).

    Args:
        generator: gives the stylecodes.
        samples: latents drawn from `rng`; memory does not grow with them.
        count: directions.
        rng: on any device.

    Returns:
        (count, w_dim) unit vectors, largest variance first, the entry of largest magnitude
        positive.

    Raises:
        ValueError: `count` is not within 1..w_dim, or fewer than two samples.
    """
    _require(generator, count)
    if samples < 2:
        raise ValueError(f"samples={samples}: expected 2 or more")
    device, size = generator.w_mean.device, generator.w_dim
    total = torch.zeros(size, dtype=torch.double, device=device)
    products = torch.zeros(size, size, dtype=torch.double, device=device)
    for start in range(0, samples, CHUNK):
        z = sample_z(min(CHUNK, samples - start), generator.z_dim, rng)
        # about any fixed point; a near one keeps the digits
        w = (generator.mapping(z.to(device)) - generator.w_mean).double()
        total += w.sum(0)
        products += w.T @ w
    mean = total / samples
    covariance = products / samples - torch.outer(mean, mean)
    rows = torch.linalg.eigh(covariance).eigenvectors.T.flip(0)[:count]  # ascending by eigenvalue
    largest = rows.gather(1, rows.abs().argmax(1, keepdim=True))
    return (rows * largest.sign()).to(generator.w_mean)


def semantic_directions(generator: Generator) -> tuple[Tensor, Tensor]:
    """Factorise the weights that take w into the network (SeFa, Shen and Zhou 2021).

    Returns:
        singular values (w_dim,), descending, and directions (w_dim, w_dim) as columns, each with
        its entry of largest magnitude positive.
    """
    affines = torch.cat(generator.style_weights())
    _, values, rows = torch.linalg.svd(affines.detach(), full_matrices=False)
    largest = rows.gather(1, rows.abs().argmax(1, keepdim=True))
    return values, (rows * largest.sign()).T


@dataclass(frozen=True)
class Directions:
    """What is known about the W space of a teacher of faces.

    Attributes:
        regression: of yaw on w.
        hyperplane: (w_dim,) unit normal, see `yaw_hyperplane`.
        sefa, ganspace: (D, w_dim) unit vectors, see there.
        steps: of each of `KINDS`, (w_dim,): change of w per degree of yaw; of `sefa` and
            `ganspace` along that direction which changes yaw most.
        card: how they were found and what they do; plain values.
    """

    regression: YawRegression
    hyperplane: Tensor
    sefa: Tensor
    ganspace: Tensor
    steps: Mapping[str, Tensor]
    card: Mapping[str, Any] = field(default_factory=dict)

    def rotated(self, w: Tensor, yaw: float, kind: str = "regression") -> Tensor:
        """Move stylecodes (B, w_dim) to where a yaw in degrees is expected.

        See `docs/directions.md` for how far faces stay the same person.
        """
        missing = yaw - self.regression.predict(w)
        return w + missing[:, None] * self.steps[kind].to(w)

    @classmethod
    def of_teacher(cls, name: str) -> Directions:
        """Load those that come with a teacher's name.

        Raises:
            UserError: the teacher has none, or they are damaged.
        """
        known = {key: teacher.directions for key, (_, teacher) in pretrained().items()}
        if not known.get(name):
            has = ", ".join(sorted(key for key, asset in known.items() if asset))
            raise UserError(
                f"teacher={name!r}: no directions come with it, expected one of {has}; "
                "others are made by: gan3d-bench directions --teacher NAME --out DIR"
            )
        return cls.load(asset_path(known[name]))

    @classmethod
    def load(cls, folder: Path) -> Directions:
        """Load what `save` or ``gan3d-bench directions`` wrote.

        Raises:
            UserError: missing, damaged or foreign files.
        """
        state, _ = read_weights(folder / WEIGHTS, PURPOSE)
        try:
            card = parse_json((folder / CARD).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UserError(f"{folder / CARD}: expected the card of directions") from error
        try:
            vectors = [state[f"regression.{name}"] for name in ("step", "gradient", "w_mean")]
            yaw_mean, r2 = (float(state[f"regression.{name}"]) for name in ("yaw_mean", "r2"))
            regression = YawRegression(*vectors, yaw_mean=yaw_mean, r2=r2)
            found = {name: state[name] for name in KINDS[1:]}
            steps = {name: state[f"steps.{name}"] for name in KINDS[1:]}
        except (KeyError, ValueError, RuntimeError) as error:
            raise UserError(f"{folder / WEIGHTS}: expected the directions of a teacher") from error
        steps = {"regression": regression.step, **steps}
        return cls(regression, **found, steps=steps, card=card)

    def save(self, folder: Path) -> list[Path]:
        """Write ``directions.safetensors``, float32, and ``card.json``; return their paths.

        Raises:
            UserError: they cannot be written.
        """
        state = {f"regression.{name}": value for name, value in vars(self.regression).items()}
        for name in KINDS[1:]:
            state |= {name: getattr(self, name), f"steps.{name}": self.steps[name]}
        tensors = {name: torch.as_tensor(value) for name, value in state.items()}
        with write_errors(folder):
            save_weights(folder / WEIGHTS, tensors, PURPOSE, dtype=torch.float32)
            write_json(folder / CARD, self.card)
        return [folder / WEIGHTS, folder / CARD]


@dataclass(frozen=True)
class YawRegression:
    """Yaw as a linear function of the stylecode, and the way back.

    Attributes:
        step: (w_dim,) change of w per degree: the one most like the samples, by their covariance,
            among those that change the predicted yaw by one degree.
        gradient: (w_dim,) degrees per unit of w; gradient . step = 1.
        w_mean: (w_dim,) mean of the samples.
        yaw_mean: degrees at `w_mean`.
        r2: coefficient of determination, cross-validated over five folds.
    """

    step: Tensor
    gradient: Tensor
    w_mean: Tensor
    yaw_mean: float
    r2: float

    def predict(self, w: Tensor) -> Tensor:
        """Predict the yaw (B,) in degrees of stylecodes (B, w_dim)."""
        return (w - self.w_mean.to(w)) @ self.gradient.to(w) + self.yaw_mean


def yaw_regression(
    w: Tensor, yaw: Tensor, components: int = 20, penalty: float = 1.0
) -> YawRegression:
    """Regress yaw on the leading principal components of w.

    Ridge regression on the components scaled to unit variance. With its weights beta and the
    covariance S of w, the smallest step in that scale that changes the prediction by one degree is
    S g / (g^T S g) for the gradient g = d yaw / d w; there it is beta / |beta|^2.

    Args:
        w: (N, w_dim) stylecodes of samples.
        yaw: (N,) degrees measured in their pictures; NaN is left out.
        components: principal components; fewer than four fifths of the samples.
        penalty: of the squared weights beta.

    Raises:
        ValueError: too few samples for so many components.
    """
    from sklearn.decomposition import PCA
    from sklearn.linear_model import Ridge
    from sklearn.metrics import r2_score
    from sklearn.model_selection import KFold, cross_val_predict
    from sklearn.pipeline import make_pipeline

    x, y = _measured(w, yaw)
    if not 0 < components < len(x) * (FOLDS - 1) // FOLDS:
        raise ValueError(f"{len(x)} samples with a face for {components} components: too few")
    pca = PCA(components, whiten=True, svd_solver="full")
    ridge = Ridge(alpha=penalty)
    model = make_pipeline(pca, ridge)
    folds = KFold(FOLDS, shuffle=True, random_state=0)
    predicted = cross_val_predict(model, x, y, cv=folds)
    model.fit(x, y)
    beta, scale = ridge.coef_, np.sqrt(pca.explained_variance_)
    return YawRegression(
        step=_vector((beta * scale) @ pca.components_ / (beta @ beta), w),
        gradient=_vector((beta / scale) @ pca.components_, w),
        w_mean=_vector(pca.mean_, w),
        yaw_mean=float(ridge.intercept_),
        r2=float(r2_score(y, predicted)),
    )


def yaw_hyperplane(w: Tensor, yaw: Tensor, share: float = 0.02, cost: float = 1.0) -> Tensor:
    """Normal of the hyperplane between faces turned to one side and to the other.

    A linear SVM on the samples with the largest against those with the smallest yaw, features not
    scaled, as InterFaceGAN finds its directions (Shen et al. 2020). The default is what section
    3.2.2 of the paper on UV maps from StyleGAN2's stylecodes and a 3DMM takes of 200,000 samples;
    of a few hundred a larger share serves better: of 320 a fifth.

    Args:
        w: (N, w_dim) stylecodes of samples.
        yaw: (N,) degrees measured in their pictures; NaN is left out.
        share: of the samples that each side takes, above 0, at most 0.5.
        cost: the SVM's C.

    Returns:
        (w_dim,) unit vector; yaw grows with it.

    Raises:
        ValueError: `share` out of range, or no sample on either side.
    """
    from sklearn.svm import SVC

    if not 0 < share <= 0.5:
        raise ValueError(f"share={share}: expected above 0, at most 0.5")
    x, y = _measured(w, yaw)
    count = int(share * len(x))
    if count < 1:
        raise ValueError(f"share={share} of {len(x)} samples with a face: none")
    order = y.argsort()
    chosen = np.concatenate([order[:count], order[-count:]])
    turned_right = np.arange(2 * count) >= count
    normal = SVC(kernel="linear", C=cost).fit(x[chosen], turned_right).coef_[0]
    return _vector(normal / np.linalg.norm(normal), w)


def _measured(w: Tensor, yaw: Tensor) -> tuple[np.ndarray, np.ndarray]:
    known = ~yaw.isnan()
    return w[known.to(w.device)].double().cpu().numpy(), yaw[known].double().cpu().numpy()


def _vector(values: np.ndarray, like: Tensor) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values)).to(like)


def _require(generator: Generator, count: int) -> None:
    size = generator.w_dim
    if not 1 <= count <= size:
        raise ValueError(f"count={count}: expected 1 to {size}, the size of w")
