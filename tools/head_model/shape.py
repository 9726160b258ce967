"""Identity and expression statistics of the head, sampled from Anny."""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from .topology import Topology, to_camera_axes

HEAD_WORDS = ("cheek", "chin", "ear", "eye", "forehead", "head", "mouth", "nose", "neck")
# Left out: they move a middle part to one side.
ASYMMETRIC = (
    "mouth-trans-out",
    "nose-trans-out",
    "head-trans-out",
    "neck-trans-out",
    "head-angle-out",
)

# Changes of the whole head, which are strong.
WIDE = ("head-", "forehead-", "neck-", "measure-neck")

# What sampled faces do: (latent, sign, highest level, actions). Levels stay in [0, highest].
EXPRESSIONS = (
    (0, 1, 0.30, ("jawOpen",)),
    (1, 1, 0.75, ("mouthSmileLeft", "mouthSmileRight")),
    (1, -1, 0.4, ("mouthFrownLeft", "mouthFrownRight")),
    (2, 1, 0.7, ("browInnerUp", "browOuterUpLeft", "browOuterUpRight")),
    (2, -1, 0.7, ("browDownLeft", "browDownRight")),
    (3, 1, 0.3, ("eyeBlinkLeft", "eyeBlinkRight")),
    (3, -1, 0.5, ("eyeWideLeft", "eyeWideRight")),
    (4, 1, 0.8, ("eyeLookOutLeft", "eyeLookInRight")),
    (4, -1, 0.8, ("eyeLookInLeft", "eyeLookOutRight")),
    (5, 1, 0.5, ("eyeLookUpLeft", "eyeLookUpRight")),
    (5, -1, 0.5, ("eyeLookDownLeft", "eyeLookDownRight")),
    (6, 1, 0.4, ("mouthPucker",)),
    (6, -1, 0.5, ("mouthStretchLeft", "mouthStretchRight")),
    (7, 1, 0.3, ("mouthUpperUpLeft", "mouthUpperUpRight")),
    (8, 1, 0.3, ("mouthLowerDownLeft", "mouthLowerDownRight")),
    (9, 1, 0.35, ("eyeSquintLeft", "eyeSquintRight")),
    (10, 1, 0.3, ("noseSneerLeft", "noseSneerRight")),
    (11, 1, 0.5, ("mouthLeft",)),
    (11, -1, 0.5, ("mouthRight",)),
    (12, 1, 0.35, ("cheekPuff",)),
    (13, 1, 0.3, ("mouthFunnel",)),
    (14, 1, 0.4, ("jawLeft",)),
    (14, -1, 0.4, ("jawRight",)),
    (15, 1, 0.3, ("mouthRollLower", "mouthRollUpper")),
    (15, -1, 0.3, ("mouthPressLeft", "mouthPressRight")),
)


@dataclass
class Statistics:
    """A linear model: x = mean + (c * deviations) @ basis, with c of unit variance."""

    mean: np.ndarray  # (V, 3)
    basis: np.ndarray  # (K, V, 3), scaled by the deviations
    explained: float


def pca(samples: np.ndarray, components: int) -> Statistics:
    """PCA of (N, V, 3) with a fixed sign, scaled so that coefficients have unit variance."""
    count = len(samples)
    flat = torch.from_numpy(samples.reshape(count, -1)).double()
    mean = flat.mean(0)
    centred = flat - mean
    variance, left = torch.linalg.eigh(centred @ centred.T)
    variance, left = variance.flip(0), left.flip(1)[:, :components]
    directions = left.T @ centred / (count - 1) ** 0.5
    largest = directions.abs().argmax(1)
    sign = torch.sign(directions[torch.arange(len(directions)), largest])
    explained = float(variance[:components].sum() / variance.sum())
    basis = (directions * sign[:, None]).numpy().reshape(-1, *samples.shape[1:])
    return Statistics(mean.numpy().reshape(samples.shape[1:]), basis, explained)


def _forward(model, count: int, phenotype=None, local=None, actions=None) -> np.ndarray:
    middle = {name: torch.full((count,), 0.5) for name in model.phenotype_labels}
    out = model(
        pose_parameters=torch.eye(4).expand(count, len(model.bone_labels), 4, 4).clone(),
        phenotype_kwargs={**middle, **(phenotype or {})},
        local_changes_kwargs=local or {},
        facial_actions=actions or {},
    )
    return out["vertices"].numpy().astype(np.float64)


def sample_identities(
    model, topology: Topology, hair_volume: np.ndarray, count: int, seed: int
) -> np.ndarray:
    """Heads of different people, eye-centred, in scene units: (count, V, 3).

    `hair_volume` (3, V, 3) are offsets of hair (all over, top, sides) in template metres; their
    amounts are drawn with the identity, so that the shape basis holds haircuts too.
    """
    rng = np.random.default_rng(seed)
    labels = [
        name
        for name in model.local_change_labels
        if any(word in name for word in HEAD_WORDS) and name not in ASYMMETRIC
    ]
    heads = []
    template_eyes = np.stack(
        [model.template_vertices.numpy()[topology.kept][eye].mean(0) for eye in topology.eyes]
    ).mean(0)
    for start in range(0, count, 250):
        size = min(250, count - start)
        phenotype = {
            name: torch.from_numpy(rng.beta(1.5, 1.5, size)).float()
            for name in model.phenotype_labels
        }
        phenotype["age"] = 0.5 + 0.45 * phenotype["age"]
        phenotype["gender"] = torch.from_numpy(rng.beta(0.6, 0.6, size)).float()
        phenotype["height"] = torch.full((size,), 0.5)
        local = {}
        for name in labels:
            spread = 0.16 if name.startswith(WIDE) or "-ear-" in name else 0.34
            level = torch.from_numpy(np.clip(spread * rng.standard_normal(size), -1, 1)).float()
            # Right follows left: the basis stays symmetric.
            local[name] = local["l-" + name[2:]] if name.startswith("r-") else level
        vertices = _forward(model, size, phenotype, local)[:, topology.kept]
        eyes = np.stack([vertices[:, eye].mean(1) for eye in topology.eyes]).mean(0)
        vertices = vertices - eyes[:, None] + template_eyes
        amount = np.stack(
            [rng.beta(1.2, 1.6, size), rng.beta(0.8, 2.0, size), rng.beta(0.8, 2.5, size)], 1
        )
        full = topology.extend(vertices) + np.einsum("nk,kvc->nvc", amount, hair_volume)
        heads.append(to_camera_axes(full))
    return np.concatenate(heads)


def read_unit(path: Path, model) -> np.ndarray:
    """A MakeHuman target file -> offsets (4538, 3) in template metres."""
    offsets = np.zeros((int(model.base_mesh_vertex_indices.max()) + 1, 3))
    with gzip.open(path, "rt") as rows:
        for row in rows:
            fields = row.split()
            if len(fields) == 4 and not row.startswith("#") and int(fields[0]) < len(offsets):
                dx, dy, dz = map(float, fields[1:])
                offsets[int(fields[0])] = np.array([dx, -dz, dy]) * 0.1
    return offsets[model.base_mesh_vertex_indices.numpy()]


def expression_offsets(model, topology: Topology, data_dir: Path) -> tuple[list[str], np.ndarray]:
    """Offsets of 52 facial actions and 34 MakeHuman units in scene units: (86, V, 3)."""
    names = list(model.facial_action_labels)
    count = len(names)
    actions = {name: (torch.arange(count + 1) == i).float() for i, name in enumerate(names)}
    vertices = _forward(model, count + 1, actions=actions)
    offsets = list(vertices[:count] - vertices[count:])
    for path in sorted((data_dir / "targets/expression/units/caucasian").glob("*.target.gz")):
        names.append(path.name.removesuffix(".target.gz"))
        offsets.append(read_unit(path, model))
    neutral = model.template_vertices.numpy()[topology.kept].astype(np.float64)
    moved = topology.extend(neutral + np.stack(offsets)[:, topology.kept])
    moved -= topology.extend(neutral[None])
    return names, to_camera_axes(moved, offsets=True)


def expression_model(
    names: list[str], offsets: np.ndarray, components: int, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """PCA of sparse activations about the neutral face, and the levels of `EXPRESSIONS` in it.

    Returns the basis (K, V, 3), the prior's rows (latent, sign, highest level; A x 3), the
    coefficients of one unit of each row (A, K), and the explained share of variance.
    """
    rng = np.random.default_rng(seed)
    levels = rng.random((2000, len(names))) * (rng.random((2000, len(names))) < 0.25)
    levels -= levels.mean(0)
    flat = offsets.reshape(len(names), -1)
    # PCA through the small Gram matrix of the 86 offsets.
    covariance = levels.T @ levels / (len(levels) - 1)
    root = np.linalg.cholesky(covariance)
    gram = root.T @ (flat @ flat.T) @ root
    variance, vectors = np.linalg.eigh(gram)
    variance, vectors = variance[::-1], vectors[:, ::-1][:, :components]
    basis = vectors.T @ root.T @ flat
    basis *= np.sign(basis[np.arange(components), np.abs(basis).argmax(1)])[:, None]
    rows = [(latent, sign, high) for latent, sign, high, _ in EXPRESSIONS]
    wanted = np.stack(
        [sum(flat[names.index(action)] for action in actions) for *_, actions in EXPRESSIONS]
    )
    coefficients = wanted @ basis.T / (basis**2).sum(1)
    explained = float(variance[:components].sum() / variance.sum())
    return basis.reshape(components, *offsets.shape[1:]), np.array(rows), coefficients, explained
