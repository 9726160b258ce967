"""W_tri: three runs of the last block, one plane each."""

from __future__ import annotations

import pytest
import torch

from gan3d_bench.generators.eg3d.generator import EG3DGenerator
from gan3d_bench.generators.eg3d.teacher import random_pair
from gan3d_bench.generators.eg3d.wtri import TriplaneCodes, wtri_planes


@pytest.fixture(scope="module")
def generator() -> EG3DGenerator:
    return random_pair()[0]


@pytest.fixture
def ws(generator: EG3DGenerator) -> torch.Tensor:
    rng = torch.Generator().manual_seed(1)
    return torch.randn(2, generator.num_ws, generator.w_dim, generator=rng)


@torch.no_grad()
def test_equal_codes_give_eg3d_back_to_the_bit(generator: EG3DGenerator, ws: torch.Tensor) -> None:
    codes = TriplaneCodes.of_stylecodes(ws)
    assert codes.flatten().shape[1] == TriplaneCodes.count(generator.num_ws)
    synthesis = generator.synthesis
    for noise in ("const", "none"):
        planes = wtri_planes(synthesis, codes, noise)
        assert torch.equal(planes, synthesis.planes(ws, noise))
    drawn = [torch.Generator().manual_seed(3) for _ in range(2)]
    expected = synthesis.planes(ws, drawn[0])
    assert torch.equal(wtri_planes(synthesis, codes, drawn[1]), expected)
    cameras = generator.config.orbit.frontal(2)
    seen = synthesis.render(wtri_planes(synthesis, codes), cameras)
    images = synthesis.upscale(seen.features, codes.upscaling[:, 0])
    assert torch.equal(images, synthesis(ws, cameras))


@torch.no_grad()
@pytest.mark.parametrize("plane", range(3))
def test_a_planes_code_moves_that_plane_alone(
    generator: EG3DGenerator, ws: torch.Tensor, plane: int
) -> None:
    codes = TriplaneCodes.of_stylecodes(ws)
    before = wtri_planes(generator.synthesis, codes)
    moved = codes.planes.clone()
    moved[:, plane] += 1
    after = wtri_planes(generator.synthesis, TriplaneCodes(codes.shared, moved, codes.upscaling))
    changed = [(before[:, k] != after[:, k]).any().item() for k in range(3)]
    assert changed == [k == plane for k in range(3)]


def test_the_free_row_reaches_the_image_before_the_last_block(
    generator: EG3DGenerator, ws: torch.Tensor
) -> None:
    codes = TriplaneCodes.of_stylecodes(ws)
    shared = codes.shared.clone().requires_grad_()
    wtri_planes(
        generator.synthesis, TriplaneCodes(shared, codes.planes, codes.upscaling)
    ).square().sum().backward()
    assert (shared.grad.abs().amax((0, 2)) > 0).all()


def test_flattened_and_back(ws: torch.Tensor) -> None:
    codes = TriplaneCodes.of_stylecodes(ws)
    again = TriplaneCodes.unflatten(codes.flatten())
    for name in ("shared", "planes", "upscaling"):
        assert torch.equal(getattr(codes, name), getattr(again, name))
    assert len(codes[:1].shared) == 1


def test_codes_of_another_generator(generator: EG3DGenerator, ws: torch.Tensor) -> None:
    codes = TriplaneCodes.of_stylecodes(ws[:, :-1])
    with pytest.raises(ValueError, match=r"expected \(B, 4, 16\)"):
        wtri_planes(generator.synthesis, codes)
    with pytest.raises(ValueError, match="12 or more"):
        TriplaneCodes.unflatten(ws[:, :3])
