"""Build the bundled head model from Anny (CC0 data) and MakeHuman's skin and eye textures (CC0).

    python tools/build_head_model.py --skins DIR --eyes DIR --out heads.npz

Needs the extra `heads-build` (anny). Only statistics are stored: mean, bases, priors. The same
seed and packages give the same model. Takes about five minutes on two cores.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from concurrent.futures import ProcessPoolExecutor
from importlib.metadata import version
from pathlib import Path

import anny
import anny.paths
import numpy as np
import torch
from head_model import albedo, shape, topology

FORMAT = 1
IDENTITIES, IDENTITY_COMPONENTS = 2000, 80
EXPRESSION_COMPONENTS = 64
TEXTURES, ALBEDO_COMPONENTS = 2000, 48
# How much an error counts in the albedo basis, by part; eyes and face are small in the texture.
EYE_WEIGHT, FACE_WEIGHT = 2.0, 2.0
# The basis is computed from textures with many beards; sampled heads have fewer, and fairer hair.
PRIOR_SHIFT = {15: 0.35, 22: -0.8, 23: -0.8}


def load_anny(cache: Path):
    """The head of Anny with its local changes and facial actions."""
    anny.paths.set_anny_cache_path(str(cache))
    return anny.Anny(
        rig="makehuman-head", topology="head", local_changes="default", facial_actions="all"
    ).float()


def paint_all(painter: albedo.Painter, latents: np.ndarray, workers: int) -> np.ndarray:
    """Paint (N, 32) latents in parallel: (N, S, S, 3) uint8, unused texels filled."""
    chunks = np.array_split(latents, max(1, len(latents) // 50))
    with ProcessPoolExecutor(workers) as pool:
        return np.concatenate(list(pool.map(_paint_chunk, [painter] * len(chunks), chunks)))


def _paint_chunk(painter: albedo.Painter, latents: np.ndarray) -> np.ndarray:
    textures = np.stack([painter.fill(image) for image in painter.paint(latents)])
    return np.round(textures * 255).astype(np.uint8)


def albedo_basis(textures: np.ndarray, weight: np.ndarray, components: int) -> dict:
    """PCA of (N, S, S, 3) textures in a weighted norm; coefficients have unit variance."""
    flat = torch.from_numpy(textures.reshape(len(textures), -1)).float() / 255
    mean = flat.mean(0)
    flat -= mean
    scaled = torch.from_numpy(np.sqrt(weight)).float()
    gram = torch.zeros(len(flat), len(flat))
    for start in range(0, flat.shape[1], 8192):
        block = flat[:, start : start + 8192] * scaled[start : start + 8192]
        gram += block @ block.T
    variance, left = torch.linalg.eigh(gram.double())
    variance, left = variance.flip(0), left.flip(1)[:, :components].float()
    basis = left.T @ flat / (len(flat) - 1) ** 0.5
    coefficients = left * (len(flat) - 1) ** 0.5
    sign = torch.sign(basis.sum(1))
    basis, coefficients = basis * sign[:, None], coefficients * sign
    return {
        "mean": mean.numpy(),
        "basis": basis.numpy(),
        "coefficients": coefficients.numpy(),
        "explained": float(variance[:components].sum() / variance.sum()),
    }


def fit_prior(latents: np.ndarray, coefficients: np.ndarray, seed: int) -> dict:
    """A small perceptron from painter latents to albedo coefficients."""
    from sklearn.neural_network import MLPRegressor

    network = MLPRegressor(
        hidden_layer_sizes=(192,),
        activation="tanh",
        alpha=3e-3,
        learning_rate_init=3e-3,
        batch_size=100,
        max_iter=250,
        early_stopping=True,
        n_iter_no_change=25,
        random_state=seed,
    ).fit(latents, coefficients)
    (w0, w1), (b0, b1) = network.coefs_, network.intercepts_
    for latent, shift in PRIOR_SHIFT.items():
        b0 = b0 + shift * w0[latent]
    return {"w0": w0, "b0": b0, "w1": w1, "b1": b1, "score": network.best_validation_score_}


def texel_centres(uvs: np.ndarray) -> np.ndarray:
    """The chart's coordinates (v down, texel edges) -> the suite's (v up, texel centres)."""
    grid = (uvs * albedo.TEXTURE_SIZE - 0.5) / (albedo.TEXTURE_SIZE - 1)
    return np.stack([grid[:, 0], 1 - grid[:, 1]], 1)


def landmarks5(topo: topology.Topology) -> np.ndarray:
    """Image-left eye, image-right eye, nose tip, image-left and image-right mouth corner."""
    # Anny's numbers (measured by SCRFD on renders); image-left is the subject's right.
    return np.searchsorted(topo.kept, [4498, 4426, 1489, 368, 2498])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--skins", type=Path, required=True, help="folder of skin textures")
    parser.add_argument("--eyes", type=Path, required=True, help="folder of eye textures")
    parser.add_argument("--out", type=Path, required=True, help="the .npz to write")
    parser.add_argument("--cache", type=Path, help="folder for Anny's cache (about 700 MB)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        build(options, options.cache or Path(temporary))


def build(options: argparse.Namespace, cache: Path) -> None:
    """Compute every part of the model and write the file."""
    seed = options.seed
    model = load_anny(cache)
    data = Path(anny.__file__).parent / "data" / "mpfb2"
    topo = topology.build(model)
    template = topo.extend(model.template_vertices.numpy()[topo.kept][None].astype(np.float64))[0]

    painter = albedo.Painter(topo, template, options.skins, options.eyes, data / "textures", seed)
    volume = albedo.hair_volume(template, painter.vertex_ear_mask)
    heads = shape.sample_identities(model, topo, volume, IDENTITIES, seed)
    identity = shape.pca(heads, IDENTITY_COMPONENTS)
    names, offsets = shape.expression_offsets(model, topo, data)
    expression, rows, levels, expression_share = shape.expression_model(
        names, offsets, EXPRESSION_COMPONENTS, seed
    )

    latents = np.random.default_rng(seed).standard_normal((TEXTURES, albedo.LATENTS))
    textures = paint_all(painter, latents, options.workers)
    weight = painter.weights(EYE_WEIGHT, FACE_WEIGHT)
    texture = albedo_basis(textures, weight, ALBEDO_COMPONENTS)
    prior = fit_prior(latents, texture["coefficients"], seed)
    scale = np.abs(texture["basis"]).max(1) / 127
    quantised = np.round(texture["basis"] / scale[:, None]).astype(np.int8)
    size = (albedo.TEXTURE_SIZE, albedo.TEXTURE_SIZE, 3)

    meta = {
        "format": FORMAT,
        "name": "heads",
        "licence": "CC0-1.0; see heads.LICENSE.md",
        "seed": seed,
        "packages": {name: version(name) for name in ("anny", "numpy", "torch", "scikit-learn")},
        "explained_variance": {
            "identity": identity.explained,
            "expression": expression_share,
            "albedo": texture["explained"],
            "albedo_prior_r2": float(prior["score"]),
        },
        "parts": list(topology.PARTS),
    }
    face_region = (template[:, 1] < -0.06) & (np.abs(template[:, 0]) < 0.075)
    face_region &= (template[:, 2] > 0.615) & np.isin(topo.vertex_parts, (0, 1, 2))
    face_region &= albedo.hair_depth(template) < 0
    arrays = {
        "meta": np.array(json.dumps(meta)),
        "mean": identity.mean.astype(np.float32),
        "identity_basis": identity.basis.astype(np.float16),
        "expression_basis": expression.astype(np.float16),
        "faces": topo.faces.astype(np.uint16),
        "uvs": texel_centres(topo.uvs).astype(np.float32),
        "face_uvs": topo.face_uvs.astype(np.uint16),
        "face_parts": topo.face_parts.astype(np.uint8),
        "mirror": topo.mirror.astype(np.uint16),
        "landmarks": landmarks5(topo).astype(np.uint16),
        "face_region": face_region,
        "albedo_mean": texture["mean"].reshape(size).astype(np.float16),
        "albedo_basis": quantised.reshape(-1, *size),
        "albedo_scale": scale.astype(np.float32),
        "expression_prior_rows": rows.astype(np.float32),
        "expression_prior": levels.astype(np.float32),
        **{f"albedo_prior_{k}": prior[k].astype(np.float32) for k in ("w0", "b0", "w1", "b1")},
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(options.out, **arrays)
    print(json.dumps(meta["explained_variance"]))
    print(f"{options.out}: {options.out.stat().st_size / 1e6:.2f} MB, {len(template)} vertices")


if __name__ == "__main__":
    main()
