"""StyleGAN2's operators, networks and files."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gan3d_bench.errors import UserError
from gan3d_bench.generators.latents import sample_z, update_w_statistics
from gan3d_bench.generators.stylegan2 import (
    Discriminator,
    DiscriminatorConfig,
    Generator,
    GeneratorConfig,
    load_discriminator,
    load_generator,
    ops,
    save_network,
)
from gan3d_bench.generators.stylegan2.checkpoint import read_metadata
from gan3d_bench.generators.stylegan2.discriminator import append_stddev
from gan3d_bench.generators.stylegan2.generator import channel_table, resolutions
from gan3d_bench.generators.stylegan2.latents import sample_images

CHANNELS = {4: 8, 8: 8, 16: 6}
SMALL = GeneratorConfig(16, z_dim=12, w_dim=10, mapping_layers=3, channels=CHANNELS)
SMALL_D = DiscriminatorConfig(16, CHANNELS)


@pytest.fixture
def generator() -> Generator:
    torch.manual_seed(0)
    generator = Generator(SMALL)
    for conv in generator.synthesis.convs:
        torch.nn.init.constant_(conv.noise_strength, 0.3)
    return generator


@pytest.fixture
def discriminator() -> Discriminator:
    torch.manual_seed(1)
    return Discriminator(SMALL_D)


def grouped_reference(
    x: Tensor, weight: Tensor, styles: Tensor, up_kernel: Tensor | None
) -> Tensor:
    """Equation 1 of the paper taken literally: one weight for each sample."""
    outputs = []
    for sample, style in zip(x, styles, strict=True):
        scaled = weight * style[None, :, None, None]
        scaled = scaled * scaled.square().sum((1, 2, 3), keepdim=True).add(1e-8).rsqrt()
        if up_kernel is None:
            outputs.append(F.conv2d(sample[None], scaled, padding=1))
        else:
            up = F.conv_transpose2d(sample[None], scaled.transpose(0, 1), stride=2)
            outputs.append(ops.upfirdn2d(up, up_kernel, pad=(1, 1, 1, 1)))
    return torch.cat(outputs)


@pytest.mark.parametrize("up", [False, True])
def test_modulated_convolution_equals_a_weight_for_each_sample(up: bool) -> None:
    rng = torch.Generator().manual_seed(0)
    x, weight, styles = (
        torch.randn(*shape, generator=rng, dtype=torch.float64)
        for shape in ((3, 4, 5, 5), (6, 4, 3, 3), (3, 4))
    )
    kernel = ops.binomial_kernel(4.0).double() if up else None
    result = ops.modulated_conv2d(x, weight, styles, kernel)
    result = result * ops.demodulation(weight, styles)[:, :, None, None]
    torch.testing.assert_close(result, grouped_reference(x, weight, styles, kernel))


@pytest.mark.parametrize("up", [False, True])
def test_modulated_convolution_gradients(up: bool) -> None:
    rng = torch.Generator().manual_seed(0)
    inputs = [
        torch.randn(*shape, generator=rng, dtype=torch.float64, requires_grad=True)
        for shape in ((2, 2, 3, 3), (2, 2, 3, 3), (2, 2))
    ]
    kernel = ops.binomial_kernel(4.0).double() if up else None

    def run(x: Tensor, weight: Tensor, styles: Tensor) -> Tensor:
        scale = ops.demodulation(weight, styles)[:, :, None, None]
        return ops.modulated_conv2d(x, weight, styles, kernel) * scale

    assert torch.autograd.gradcheck(run, inputs)
    assert torch.autograd.gradgradcheck(run, inputs)


@given(height=st.integers(2, 9), width=st.integers(2, 9), channels=st.integers(1, 3))
@settings(max_examples=20, deadline=None)
def test_fast_resampling_equals_upfirdn2d(height: int, width: int, channels: int) -> None:
    x = torch.randn(2, channels, height, width, dtype=torch.float64)
    four = ops.binomial_kernel(4.0).double()
    one = ops.binomial_kernel().double()
    torch.testing.assert_close(ops.upsample(x), ops.upfirdn2d(x, four, up=2, pad=(2, 1, 2, 1)))
    torch.testing.assert_close(
        ops.blur(x, one, padding=1, stride=2), ops.upfirdn2d(x, one, down=2, pad=(1, 1, 1, 1))
    )


def test_upsampling_gradients() -> None:
    x = torch.randn(1, 2, 3, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(ops.upsample, x)
    assert torch.autograd.gradgradcheck(ops.upsample, x)


def test_reused_memory_changes_no_image_and_no_input(generator: Generator) -> None:
    w = torch.randn(1, 10, generator=torch.Generator().manual_seed(0))
    before = {key: value.clone() for key, value in generator.state_dict().items()}
    expected = generator.synthesis.run(w)
    with torch.no_grad():
        outputs = generator.synthesis.run(w)
    torch.testing.assert_close(outputs, expected)
    assert all(torch.equal(value, before[key]) for key, value in generator.state_dict().items())


@pytest.mark.parametrize("wanted", ["x", "factors"])
def test_reused_memory_forbids_no_gradient(wanted: str) -> None:
    x, factors = torch.randn(2, 3, 4, 4), torch.randn(2, 3)
    kept = x.clone()
    (x if wanted == "x" else factors).requires_grad_()
    ops.scale_channels(x, factors, overwrite=True).square().sum().backward()
    assert torch.equal(x, kept)
    ops.scale_channels(x.detach(), factors.detach(), overwrite=True)
    assert torch.equal(x, kept * factors[:, :, None, None])


def test_noise_maps_have_gradients(generator: Generator) -> None:
    synthesis = generator.requires_grad_(False).synthesis
    maps = [torch.randn(1, 1, s, s, requires_grad=True) for s in synthesis.noise_sizes]
    synthesis(torch.randn(2, 10), maps).square().sum().backward()
    assert all(map_.grad is not None and map_.grad.abs().sum() > 0 for map_ in maps)


def test_pointwise_modulation_in_both_layouts() -> None:
    x, weight, styles = torch.randn(2, 5, 4, 6), torch.randn(3, 5), torch.randn(2, 5)
    expected = torch.einsum("oi,bi,bihw->bohw", weight, styles, x)
    torch.testing.assert_close(ops.modulated_pointwise(x, weight, styles), expected)
    last = x.contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(ops.modulated_pointwise(last, weight, styles), expected)


def test_generator_contract(generator: Generator) -> None:
    z = sample_z(3, 12, torch.Generator().manual_seed(0))
    w = generator.mapping(z)
    assert w.shape == (3, 10)
    assert generator.num_ws == 6
    images = generator.synthesis(w)
    assert images.shape == (3, 3, 16, 16)
    ws = w[:, None].expand(-1, generator.num_ws, -1)
    torch.testing.assert_close(generator.synthesis(ws), images)
    features = generator.features(w, [16, 4])
    assert [f.shape for f in features] == [(3, 6, 16, 16), (3, 8, 4, 4)]
    torch.testing.assert_close(sample_images(generator, z, batch=2), images.clamp(-1, 1))


def test_features_are_those_the_image_is_made_of(generator: Generator) -> None:
    w = torch.randn(2, 10, generator=torch.Generator().manual_seed(0)).requires_grad_()
    images, features = generator.image_and_features(w)
    assert features.shape == (2, generator.feature_channels, 16, 16)
    assert torch.equal(images, generator.synthesis(w))
    before = generator.synthesis.run(w)[-2][1]
    rgb = generator.synthesis.stages[-1].to_rgb(features, w)
    torch.testing.assert_close(ops.upsample(before) + rgb, images)
    with torch.no_grad():
        kept = generator.image_and_features(w)[1]
        generator.image_and_features(w + 1)
    torch.testing.assert_close(kept, features)


@pytest.mark.parametrize("part", [0, 1], ids=["image", "features"])
def test_image_and_features_have_right_gradients(generator: Generator, part: int) -> None:
    def energy(w: Tensor) -> Tensor:
        return generator.image_and_features(w)[part].double().square().sum()

    w = torch.randn(1, 10, generator=torch.Generator().manual_seed(3)).requires_grad_()
    (grad,) = torch.autograd.grad(energy(w), w)
    step = 1e-3 * F.normalize(grad)  # short: features have kinks
    with torch.no_grad():
        change = energy(w + step) - energy(w - step)
    assert float(change) == pytest.approx(float(2e-3 * grad.norm()), rel=0.01)


def test_every_stylecode_is_used_once(generator: Generator) -> None:
    ws = torch.randn(1, generator.num_ws, 10, requires_grad=True)
    generator.synthesis(ws).sum().backward()
    assert (ws.grad.abs().sum(2) > 0).all()


def test_noise_sources(generator: Generator) -> None:
    w = torch.randn(2, 10)
    synthesis = generator.synthesis

    def drawn(seed: int) -> Tensor:
        return synthesis(w, torch.Generator().manual_seed(seed))

    torch.testing.assert_close(drawn(0), drawn(0), rtol=0, atol=0)
    assert not torch.allclose(drawn(0), drawn(1))
    assert not torch.allclose(synthesis(w, "random"), synthesis(w, "random"))
    assert not torch.allclose(synthesis(w, "const"), synthesis(w, "none"))
    zeros = [torch.zeros(1, 1, size, size) for size in synthesis.noise_sizes]
    torch.testing.assert_close(synthesis(w, zeros), synthesis(w, "none"))
    with pytest.raises(UserError, match="1 maps given, expected 5"):
        synthesis(w, zeros[:1])
    with pytest.raises(UserError, match="expected const, random or none"):
        synthesis(w, "loud")  # type: ignore[arg-type]


def test_truncation(generator: Generator) -> None:
    generator.w_mean.copy_(torch.randn(10))
    w = torch.randn(2, 10)
    assert generator.truncate(w, 1.0) is w
    torch.testing.assert_close(generator.truncate(w, 0.0), generator.w_mean.expand(2, -1))
    partly = generator.truncate(w, 0.5, cutoff=2)
    assert partly.shape == (2, 6, 10)
    torch.testing.assert_close(partly[:, 0], (w + generator.w_mean) / 2)
    torch.testing.assert_close(partly[:, 2:], w[:, None].expand(-1, 4, -1))


def test_statistics_of_w(generator: Generator) -> None:
    update_w_statistics(generator, torch.Generator().manual_seed(0), 3000)
    w = generator.mapping(sample_z(3000, 12, torch.Generator().manual_seed(1)))
    torch.testing.assert_close(generator.w_mean, w.mean(0), rtol=0, atol=0.1)
    torch.testing.assert_close(generator.w_std, w.std(0), rtol=0.1, atol=0.02)


def test_autocast_gives_float32_images_and_logits_near_the_exact(
    generator: Generator, discriminator: Discriminator
) -> None:
    w = torch.randn(4, 10)
    exact = generator.synthesis(w)
    with torch.autocast("cpu", torch.bfloat16):
        images = generator.synthesis(w)
        logits = discriminator(exact)
    assert images.dtype == logits.dtype == torch.float32
    assert (images - exact).abs().max() < 0.05 * exact.abs().max()
    torch.testing.assert_close(logits, discriminator(exact), rtol=0, atol=0.1)


def test_discriminator_features_of_any_size_and_batch(discriminator: Discriminator) -> None:
    shapes = [f.shape for f in discriminator.features(torch.randn(5, 3, 8, 8), 2)]
    assert shapes == [(5, 8, 4, 4), (5, 8, 2, 2)]
    assert discriminator(torch.randn(6, 3, 16, 16)).shape == (6, 1)


def test_stddev_groups_are_strided() -> None:
    x = torch.randn(8, 2, 4, 4)
    extended = append_stddev(x, 4)
    torch.testing.assert_close(extended[:, :2], x)
    extra = extended[:, 2, 0, 0]
    assert (extended[:, 2] == extra[:, None, None]).all()
    expected = x[0::2].var(0, correction=0).add(1e-8).sqrt().mean()
    torch.testing.assert_close(extra[0::2], expected.expand(4))
    # 6 images do not split into groups of 4: groups of 3 do
    torch.testing.assert_close(append_stddev(x[:6], 4)[0, 2], append_stddev(x[:6], 3)[0, 2])


def test_a_shared_batch_keeps_its_stddev_groups_on_two_processes() -> None:
    x = torch.randn(16, 2, 4, 4)
    whole = append_stddev(x, 4)
    for rank in range(2):
        torch.testing.assert_close(append_stddev(x[rank::2], 4), whole[rank::2])


def test_default_teacher_fits_into_eight_megabytes() -> None:
    parameters = [
        sum(p.numel() for p in network.parameters()) for network in (Generator(), Discriminator())
    ]
    assert 2 * sum(parameters) < 7.7e6


def test_official_channel_tables() -> None:
    assert channel_table(256, 32768)[256] == 128
    assert channel_table(64, 16384) == {4: 512, 8: 512, 16: 512, 32: 512, 64: 256}
    with pytest.raises(UserError, match="power of two"):
        resolutions(48)


# -- files --------------------------------------------------------------------------------------


def test_save_and_load(tmp_path: Path, generator: Generator, discriminator: Discriminator) -> None:
    save_network(generator, tmp_path / "g.safetensors", {"fid": "12"})
    save_network(discriminator, tmp_path / "d.safetensors")
    assert read_metadata(tmp_path / "g.safetensors")["fid"] == "12"
    loaded = load_generator(tmp_path / "g.safetensors")
    assert loaded.config == SMALL
    assert not loaded.training
    w = torch.randn(2, 10)
    torch.testing.assert_close(loaded.synthesis(w), generator.synthesis(w), rtol=0, atol=0.05)
    x = torch.randn(4, 3, 16, 16)
    other = load_discriminator(tmp_path / "d.safetensors")
    torch.testing.assert_close(other(x), discriminator(x), rtol=0, atol=0.02)
    assert {p.dtype for p in loaded.parameters()} == {torch.float32}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["d.safetensors", "g.safetensors"]


def test_bad_files(tmp_path: Path, generator: Generator, discriminator: Discriminator) -> None:
    path = tmp_path / "g.safetensors"
    save_network(generator, path)
    whole = path.read_bytes()
    with pytest.raises(UserError, match="holds a stylegan2-generator, expected a stylegan2-disc"):
        load_discriminator(path)
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="truncated"):
        load_generator(path)
    path.write_bytes(b"")
    with pytest.raises(UserError, match="truncated"):
        load_generator(path)
    with pytest.raises(UserError, match="no such file"):
        load_generator(tmp_path / "absent.safetensors")


def test_wrong_architecture(tmp_path: Path, generator: Generator) -> None:
    path = tmp_path / "g.safetensors"
    generator.synthesis.blocks["16"].to_rgb.bias = torch.nn.Parameter(torch.zeros(4))
    save_network(generator, path)
    with pytest.raises(UserError, match=r"to_rgb\.bias' is \(4,\), expected \(3,\)"):
        load_generator(path)
