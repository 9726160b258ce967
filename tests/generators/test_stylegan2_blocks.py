"""StyleGAN2's synthesis run block by block, and with another number of channels."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from gan3d_bench.errors import UserError
from gan3d_bench.generators.base import BlockwiseSynthesis
from gan3d_bench.generators.mobilestylegan import MobileStyleGAN, MobileStyleGANConfig
from gan3d_bench.generators.stylegan2 import Generator, GeneratorConfig, with_channels

CHANNELS = {4: 8, 8: 8, 16: 6, 32: 4}


@pytest.fixture
def generator() -> Generator:
    torch.manual_seed(0)
    generator = Generator(GeneratorConfig(32, 12, 10, 2, CHANNELS))
    for conv in generator.synthesis.convs:
        torch.nn.init.constant_(conv.noise_strength, 0.3)
    return generator


def stylecodes(generator: Generator, batch: int = 2) -> Tensor:
    rng = torch.Generator().manual_seed(5)
    return torch.randn(batch, generator.num_ws, generator.w_dim, generator=rng)


def one_by_one(synthesis: BlockwiseSynthesis, ws: Tensor, noise: object = "const") -> Tensor:
    state = synthesis.begin(len(ws))
    for index, block in enumerate(synthesis.stages):
        state = block(state, ws[:, synthesis.ws_of(index)], noise)
    return state.image


@pytest.mark.parametrize("noise", ["const", "none", "random", "drawn"])
@pytest.mark.parametrize("reduced", [False, True], ids=["float32", "bfloat16"])
@torch.no_grad()
def test_blocks_one_by_one_are_the_network(generator: Generator, noise: str, reduced: bool) -> None:
    ws = stylecodes(generator)

    def source() -> object:
        torch.manual_seed(3)
        return torch.Generator().manual_seed(4) if noise == "drawn" else noise

    with torch.autocast("cpu", torch.bfloat16, enabled=reduced):
        expected = generator.synthesis(ws, source())
        assert torch.equal(one_by_one(generator.synthesis, ws, source()), expected)
    assert expected.dtype == torch.float32


def test_every_row_is_taken_and_only_rows_of_rgb_layers_are_shared(generator: Generator) -> None:
    synthesis = generator.synthesis
    rows = [list(range(generator.num_ws))[synthesis.ws_of(i)] for i in range(4)]
    assert rows == [[0, 1], [1, 2, 3], [3, 4, 5], [5, 6, 7]]
    assert synthesis.ws_of(-1) == synthesis.ws_of(3)
    with pytest.raises(IndexError):
        synthesis.ws_of(4)


def test_the_last_block_runs_again_from_one_state(generator: Generator) -> None:
    """Three codes for the last block: images and gradients are those of three whole passes."""
    synthesis = generator.synthesis
    last = synthesis.ws_of(-1)
    shared = stylecodes(generator).requires_grad_()
    others = [torch.randn(2, 3, 10, generator=torch.Generator().manual_seed(i)) for i in range(3)]
    codes = [code.requires_grad_() for code in others]

    state = synthesis.begin(2)
    for index, block in enumerate(synthesis.stages[:-1]):
        state = block(state, shared[:, synthesis.ws_of(index)])
    kept = [part.detach().clone() for part in state]
    images = [synthesis.stages[-1](state, code).image for code in codes]
    for part, before in zip(state, kept, strict=True):
        assert torch.equal(part, before)

    inputs = [shared, *codes, *generator.synthesis.parameters()]
    weights = torch.randn(3, generator=torch.Generator().manual_seed(8))

    def gradients(made: list[Tensor]) -> tuple[Tensor, ...]:
        total = sum(k * image.square().sum() for k, image in zip(weights, made, strict=True))
        return torch.autograd.grad(total, inputs)

    found = gradients(images)
    # the whole network, whose row 5 is shared by an RGB layer and the last block, cannot give a
    # code for each: the blocks before it run anew for each image here
    again = []
    for code in codes:
        state = synthesis.run(shared)[-2]
        again.append(synthesis.stages[-1](state, code).image)
    for image, expected in zip(images, again, strict=True):
        assert torch.equal(image, expected)
    for grad, expected in zip(found, gradients(again), strict=True):
        torch.testing.assert_close(grad, expected, rtol=1e-3, atol=1e-4)
    assert found[0][:, last.start + 1 :].abs().sum() == 0  # rows of the last block alone
    assert not torch.allclose(images[0], images[1])

    same = synthesis.stages[-1](synthesis.run(shared)[-2], shared[:, last]).image
    assert torch.equal(same, synthesis(shared))


def test_what_a_block_is_given_is_checked(generator: Generator) -> None:
    synthesis, ws = generator.synthesis, stylecodes(generator)
    with pytest.raises(UserError, match=r"ws: \(2, 8, 10\), expected \(B, 2, w_dim\)"):
        synthesis.stages[0](synthesis.begin(2), ws)
    with pytest.raises(UserError, match="noise: 2 maps given, expected 1"):
        synthesis.stages[0](synthesis.begin(2), ws[:, :2], [torch.zeros(4, 4)] * 2)


def test_who_can_be_run_block_by_block(generator: Generator) -> None:
    assert generator.blocks == generator.synthesis.stages
    config = MobileStyleGANConfig(z_dim=8, w_dim=8, mapping_layers=1, channels=(8, 8, 4))
    assert MobileStyleGAN(config).blocks is None


def test_more_channels(generator: Generator) -> None:
    generator.requires_grad_(False).synthesis.stages[1].to_rgb.weight.requires_grad_()
    ws = stylecodes(generator)
    images = generator.synthesis(ws)
    made = with_channels(generator, 6).eval()
    assert (made.image_channels, made.config.image_channels) == (6, 6)
    more = made.synthesis(ws)
    torch.testing.assert_close(more[:, :3], images)
    assert torch.equal(more[:, 3:], torch.zeros(2, 3, 32, 32))
    assert generator.image_channels == 3 and torch.equal(generator.synthesis(ws), images)
    trained = [name for name, p in made.named_parameters() if p.requires_grad]
    assert trained == ["synthesis.blocks.8.to_rgb.weight"]
    # the new rows learn at once
    (grad,) = torch.autograd.grad(more[:, 3:].sum(), made.synthesis.stages[1].to_rgb.weight)
    assert (grad[3:].abs().sum((1, 2, 3)) > 0).all()
    assert made.state_dict().keys() == generator.state_dict().keys()


def test_fewer_channels(generator: Generator) -> None:
    ws = stylecodes(generator)
    one = with_channels(generator, 1)
    torch.testing.assert_close(one.synthesis(ws), generator.synthesis(ws)[:, :1])
    with pytest.raises(UserError, match="image_channels=0: expected 1 or more"):
        with_channels(generator, 0)
