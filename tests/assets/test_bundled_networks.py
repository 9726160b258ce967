"""Every bundled network depends on what it is given: none gives the same to everybody.

The files are found by the manifest, and what to feed by what a file says it holds. A file that is
not known here fails, so that the next network is not forgotten.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from gan3d_bench.assets.manifest import BUNDLED, bundled_manifest
from gan3d_bench.config import compose
from gan3d_bench.conformance.dependence import LEAST_RATIO
from gan3d_bench.datamodules.heads import head_latents, render_heads, sample_heads
from gan3d_bench.faces.embeddings import build_identity
from gan3d_bench.faces.identity_files import PURPOSE as EMBEDDING
from gan3d_bench.files.weights import open_weights
from gan3d_bench.generators import directions
from gan3d_bench.generators.eg3d import checkpoint as eg3d
from gan3d_bench.generators.eg3d.cameras import CameraOrbit
from gan3d_bench.generators.eg3d.discriminator import raw_of
from gan3d_bench.generators.latents import numbered_z
from gan3d_bench.generators.stylegan2.checkpoint import (
    DISCRIMINATOR,
    GENERATOR,
    load_discriminator,
    load_generator,
)
from gan3d_bench.geometry.morphable_model import MorphableModel
from gan3d_bench.methods.gan2shape.checkpoint import ENTRIES
from gan3d_bench.methods.gan2shape.checkpoint import PURPOSE as GAN2SHAPE
from gan3d_bench.methods.gan2shape.config import GAN2ShapeConfig
from gan3d_bench.methods.gan2shape.model import GAN2ShapeNetworks
from gan3d_bench.methods.gan2shape.photogeometry import Renderer
from gan3d_bench.methods.gan2shape.spec import SPEC
from gan3d_bench.metrics.individuality import individual_ratio

SUBJECTS = 8
CONSTANT = {
    ("gan2shape-heads-64/networks.safetensors", "albedo_net"): (
        "one albedo for all (A is each head's own): 1.4e-4 of the spread over pixels"
    ),
}
"""What is known to give the same to everybody, with the figure; each waits for a new network."""

Ratios = Mapping[str, float]


@functools.cache
def images(size: int) -> Tensor:
    """Test heads, and a grey and a noise image after them, (10, 3, S, S) in [-1, 1]."""
    heads = render_heads(sample_heads(head_latents("test", range(SUBJECTS), 0)), size, 1)["image"]
    noise = torch.rand(1, *heads.shape[1:], generator=torch.Generator().manual_seed(0)) * 2 - 1
    return torch.cat((heads, torch.zeros_like(noise), noise))


def of_images(network: Callable[[Tensor], Tensor], size: int) -> float:
    """The least ratio of a network of images: over heads; over a head, grey and noise."""
    found = network(images(size))
    strange = torch.cat((found[:1], found[SUBJECTS:]))
    return min(individual_ratio(found[:SUBJECTS]), individual_ratio(strange))


def gan2shape(path: Path) -> Ratios:
    """D, A, V, L and E as the preset that starts from them builds them."""
    own = [preset for preset in SPEC.presets if not preset.startswith("paper-")]
    configs = [compose(SPEC, preset, overrides=["instances=1"]) for preset in own]
    ours = [config for config in configs if isinstance(config, GAN2ShapeConfig)]
    config = next(config for config in ours if config.start == path.parent.name)
    state, _ = open_weights(path)
    codes = [value for key, value in state.items() if key.startswith("encoder.")][-1].shape[0]
    networks = GAN2ShapeNetworks(config, codes, Renderer.from_config(config))
    networks.reset()
    answers = {
        "depth_net": networks.depth,
        "albedo_net": networks.albedo,
        "view_net": networks.raw_view,
        "light_net": networks.raw_light,
        "encoder": networks.encoder,
    }
    assert set(answers) == set(ENTRIES.values())
    return {
        name: of_images(lambda x, answer=answer: answer(x, [0]), config.image_size)
        for name, answer in answers.items()
    }


def generator(path: Path) -> Ratios:
    """Of latents: stylecodes and pictures."""
    network = load_generator(path)
    w = network.mapping(numbered_z("test", range(SUBJECTS), network.z_dim))
    return {"mapping": individual_ratio(w), "synthesis": individual_ratio(network.synthesis(w))}


def discriminator(path: Path) -> Ratios:
    """Of images; EG3D's also of the volume's, seen by the frontal camera."""
    network = load_discriminator(path)
    size, front = network.config.image_size, CameraOrbit().frontal()

    def score(pictures: Tensor) -> Tensor:
        if not network.config.label_dim:
            return network(pictures)
        pairs = pictures, raw_of(pictures, size // 2)
        return eg3d.dual(network)(pairs, front.expand(len(pictures), -1))

    return {"score": of_images(score, size)}


def eg3d_generator(path: Path) -> Ratios:
    """Of latents seen by one camera: stylecodes, pictures and depth."""
    network = eg3d.load_generator(path)
    cameras = network.config.orbit.frontal(SUBJECTS)
    w = network.mapping(numbered_z("test", range(SUBJECTS), network.z_dim), cameras)
    image, volume = network.synthesis.run(w, cameras)
    found = {"mapping": w, "synthesis": image, "depth": volume.depth}
    return {name: individual_ratio(value) for name, value in found.items()}


def embedding(path: Path) -> Ratios:
    network = build_identity(path)
    _, facts = open_weights(path)
    return {"embedding": of_images(network, int(facts["image_size"]))}


def head_model(path: Path) -> Ratios:
    """Of latents: shapes and skins. A linear model, yet it must not lose its bases."""
    model = MorphableModel.load_heads()
    heads = sample_heads(head_latents("test", range(SUBJECTS), 0), model)
    return {
        "vertices": individual_ratio(model.vertices(heads.identity, heads.expression)),
        "albedo": individual_ratio(model.albedo(heads.albedo)),
    }


FEEDERS: dict[str, Callable[[Path], Ratios]] = {
    GAN2SHAPE: gan2shape,
    GENERATOR: generator,
    DISCRIMINATOR: discriminator,
    eg3d.GENERATOR: eg3d_generator,
    EMBEDDING: embedding,
    "heads.npz": head_model,
}
PARTS = {
    GAN2SHAPE: tuple(ENTRIES.values()),
    GENERATOR: ("mapping", "synthesis"),
    DISCRIMINATOR: ("score",),
    eg3d.GENERATOR: ("mapping", "synthesis", "depth"),
    EMBEDDING: ("embedding",),
    "heads.npz": ("vertices", "albedo"),
}
# vectors and statistics, and meshes with their licences: nothing to feed
NO_NETWORKS = (directions.PURPOSE, *(file for file in bundled_manifest() if file[:5] == "cars/"))


def kind_of(file: str) -> str:
    """What a bundled file holds, as it says itself."""
    if not file.endswith(".safetensors"):
        return file
    return open_weights(BUNDLED / file)[1].get("purpose", "")


KINDS = {file: kind_of(file) for file in bundled_manifest() if not file.endswith("card.json")}


@functools.cache
@torch.no_grad()
def ratios(file: str) -> Ratios:
    return FEEDERS[KINDS[file]](BUNDLED / file)


def test_no_bundled_network_is_left_out() -> None:
    unknown = [f for f, kind in KINDS.items() if kind not in FEEDERS and kind not in NO_NETWORKS]
    assert not unknown, f"nobody knows how to feed these: {unknown}"
    assert {kind for kind in KINDS.values() if kind in FEEDERS} == set(PARTS) == set(FEEDERS)


def cases() -> Iterator[Any]:
    """A file's networks, those that are known to be constant marked so."""
    for file, kind in KINDS.items():
        for part in PARTS.get(kind, ()):
            reason = CONSTANT.get((file, part))
            known = pytest.mark.xfail(raises=AssertionError, strict=True, reason=reason or "")
            name = f"{Path(file).parent.name or file}-{part}"
            yield pytest.param(file, part, id=name, marks=[known] if reason else [])


@pytest.mark.parametrize(("file", "part"), list(cases()))
def test_it_depends_on_its_input(file: str, part: str) -> None:
    ratio = ratios(file)[part]
    print(f"{file} {part}: {ratio:.3g}")
    assert ratio >= LEAST_RATIO
