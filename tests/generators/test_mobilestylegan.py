"""MobileStyleGAN on a small random network, against the formulas of its layers taken
literally, and its reader on small and on damaged OpenVINO IR files."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from gan3d_bench.errors import UserError
from gan3d_bench.generators.mobilestylegan import (
    MobileStyleGAN,
    MobileStyleGANConfig,
    load,
    load_teacher,
    ops,
)
from gan3d_bench.generators.mobilestylegan.downsampled_block import BANDS, downsample_kernels
from gan3d_bench.generators.mobilestylegan.layers import Affine
from gan3d_bench.generators.mobilestylegan.openvino_ir import IntermediateRepresentation
from gan3d_bench.methods.gan2shape.latents import LatentOffset

SMALL = MobileStyleGANConfig(z_dim=12, w_dim=10, mapping_layers=3, channels=(16, 16, 8, 4))


@pytest.fixture
def generator() -> MobileStyleGAN:
    return build()


def build() -> MobileStyleGAN:
    torch.manual_seed(0)
    generator = MobileStyleGAN(SMALL)
    for name, values in [*generator.named_parameters(), *generator.named_buffers()]:
        if name.endswith("noise") or re.search(r"(conv\d?|head)\.bias", name):
            torch.nn.init.normal_(values, std=0.3)
    return generator.eval().requires_grad_(False)


def codes(batch: int = 2, seed: int = 0) -> Tensor:
    return torch.randn(batch, SMALL.w_dim, generator=torch.Generator().manual_seed(seed))


# -- the formulas, literally --------------------------------------------------------------------


def literal_inverse_haar(x: Tensor) -> Tensor:
    low, rows, columns, both = x.chunk(4, dim=1)
    out = x.new_zeros(x.shape[0], x.shape[1] // 4, 2 * x.shape[2], 2 * x.shape[3])
    for p in (0, 1):
        for q in (0, 1):
            signs = rows * (-1) ** p + columns * (-1) ** q + both * (-1) ** (p + q)
            out[:, :, p::2, q::2] = 0.5 * (low + signs)
    return out


def literal_image(generator: MobileStyleGAN, ws: list[Tensor]) -> Tensor:
    """The network of section 3: every factor where the formula has it."""

    def factors(layer: Affine, w: Tensor) -> Tensor:
        return F.linear(w, layer.weight, layer.bias)[:, :, None, None]

    def finish(x: Tensor, conv: torch.nn.Module) -> Tensor:
        return F.leaky_relu(x + conv.noise + conv.bias[:, None, None], 0.2)

    def separable(x: Tensor, affine: Affine, conv: torch.nn.Module, w: Tensor) -> Tensor:
        x = x * factors(affine, w) / (9 * x.shape[1]) ** 0.5
        x = F.conv2d(x, conv.depthwise, padding=1, groups=x.shape[1])
        return finish(F.conv2d(x, conv.pointwise[:, :, None, None]), conv)

    s = generator.synthesis
    x = s.constant * factors(s.affine, ws[0]) / (9 * len(s.constant)) ** 0.5
    x = finish(F.conv2d(x, s.conv.weight, padding=1), s.conv)
    for i, block in enumerate(s.blocks):
        x = literal_inverse_haar(x * factors(block.up, ws[3 * i + 1]))
        x = separable(x, block.affine1, block.conv1, ws[3 * i + 1])
        x = separable(x, block.affine2, block.conv2, ws[3 * i + 2])
    x = x * factors(s.head.affine, ws[3 * len(s.blocks)]) / x.shape[1] ** 0.5
    x = F.conv2d(x, s.head.weight[:, :, None, None], s.head.bias)
    return literal_inverse_haar(x)


@pytest.mark.parametrize("piece", [256, 1 << 20], ids=["in pieces", "whole"])
def test_images_and_all_gradients_are_those_of_the_formulas(
    generator: MobileStyleGAN, piece: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ops, "PIECE", piece)
    generator.synthesis.requires_grad_(True)
    ws = torch.stack([codes(seed=i) for i in range(generator.num_ws)], 1).requires_grad_()
    weight = torch.randn(2, 3, 64, 64)
    wanted = [ws, *generator.synthesis.parameters()]
    images, expected = generator.synthesis(ws), literal_image(generator, list(ws.unbind(1)))
    torch.testing.assert_close(images, expected, rtol=1e-4, atol=1e-5)
    for ours, theirs in zip(
        torch.autograd.grad((images * weight).sum(), wanted),
        torch.autograd.grad((expected * weight).sum(), wanted),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4 * float(theirs.abs().max()))


def test_operators_have_right_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ops, "PIECE", 1)
    rng = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=rng, dtype=torch.float64, requires_grad=True)

    x, noise = draw(2, 8, 2, 4), draw(2, 4).detach()
    assert torch.autograd.gradcheck(ops.inverse_haar, x)
    assert torch.autograd.gradgradcheck(ops.inverse_haar, x)
    assert torch.autograd.gradcheck(ops.haar, draw(1, 2, 4, 6))
    assert torch.autograd.gradcheck(ops.depthwise, (x, draw(8, 1, 3, 3)))
    assert torch.autograd.gradcheck(
        lambda x, factors: ops.activate(x, noise, factors), (x, draw(2, 8))
    )


def test_haar_transforms_are_transposes_and_keep_means() -> None:
    x = torch.randn(2, 12, 3, 5)
    fine = ops.inverse_haar(x)
    torch.testing.assert_close(0.5 * fine, literal_inverse_haar(x))
    torch.testing.assert_close(ops.haar(fine), 4 * x)
    torch.testing.assert_close(F.avg_pool2d(fine, 2), x[:, :3])


# -- the contract -------------------------------------------------------------------------------


def test_sizes_and_statistics(generator: MobileStyleGAN) -> None:
    assert MobileStyleGANConfig().image_size == 1024
    assert (generator.z_dim, generator.w_dim, generator.image_size) == (12, 10, 64)
    assert generator.num_ws == 11 and generator.sizes == [64, 32, 16, 8, 4]
    assert [len(weight) for weight in generator.style_weights()] == [
        *(16, 16, 4, 16, 16, 4, 8, 8, 2, 4, 4)
    ]
    images = generator(torch.randn(2, 12), psi=0.5)
    assert images.shape == (2, 3, 64, 64) and images.dtype == torch.float32


def test_one_stylecode_is_the_same_one_for_every_layer(generator: MobileStyleGAN) -> None:
    w = codes()
    every = w[:, None].expand(-1, generator.num_ws, -1)
    torch.testing.assert_close(generator.synthesis(w), generator.synthesis(every))


def test_stylecodes_act_where_the_official_layout_says(generator: MobileStyleGAN) -> None:
    """All but those of the images of smaller sizes, which no layer is left for, and the last."""
    ws = codes()[:, None].repeat(1, generator.num_ws, 1).requires_grad_()
    (grad,) = torch.autograd.grad(generator.synthesis(ws).square().sum(), ws)
    acting = grad.abs().sum((0, 2)) > 0
    assert acting.nonzero().flatten().tolist() == [0, 1, 2, 4, 5, 7, 8, 9]


def test_images_do_not_depend_on_the_rest_of_the_batch(generator: MobileStyleGAN) -> None:
    w = codes(3)
    torch.testing.assert_close(generator.synthesis(w)[1:2], generator.synthesis(w[1:2]))


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("size", [64, 32, 16, 8])
def test_features_are_those_the_image_is_made_of(
    generator: MobileStyleGAN, size: int, exact: bool
) -> None:
    generator.resize(size, exact)
    head = generator.synthesis.head
    w = codes().requires_grad_()
    images, features = generator.image_and_features(w)
    assert features.shape == (2, generator.feature_channels, size, size)
    assert torch.equal(images, generator.synthesis(w))
    modulated = features * head.affine(w)[:, :, None, None]
    if size == 64:  # the full image has details beyond the band that the features' means make
        modulated, images = F.avg_pool2d(modulated, 2), F.avg_pool2d(images, 2)
    torch.testing.assert_close(head(modulated, bands=1), images)
    (grad,) = torch.autograd.grad(features.square().sum(), w)
    assert grad.abs().sum() > 0


@pytest.mark.parametrize("size", [64, 16])
def test_checkpointing_changes_no_gradient(generator: MobileStyleGAN, size: int) -> None:
    generator.resize(size).synthesis.requires_grad_(True)
    w = codes().requires_grad_()
    wanted = [w, *(p for p in generator.synthesis.parameters())]
    gradients = []
    for checkpointing in (False, True):
        generator.checkpointing = checkpointing
        loss = generator.synthesis(w).square().sum()
        gradients.append(torch.autograd.grad(loss, wanted))
    for kept, computed in zip(*gradients, strict=True):
        torch.testing.assert_close(kept, computed)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_mixed_precision_stays_near(generator: MobileStyleGAN, dtype: torch.dtype) -> None:
    w = codes().requires_grad_()
    results = []
    for enabled in (False, True):
        with torch.autocast("cpu", dtype, enabled=enabled):
            images = generator.synthesis(w)
        assert images.dtype == torch.float32
        results.append((images, *torch.autograd.grad(images.square().mean(), w)))
    for full, reduced in zip(*results, strict=True):
        assert not torch.equal(full, reduced)
        assert F.cosine_similarity(full.flatten(), reduced.flatten(), dim=0) > 0.999


def test_frozen_network_gives_gradients_to_stylecodes_alone(generator: MobileStyleGAN) -> None:
    w = codes().requires_grad_()
    generator.synthesis(w).sum().backward()
    assert w.grad is not None and w.grad.abs().sum() > 0
    assert all(weight.grad is None for weight in generator.parameters())


def test_gan2shape_offsets_work_on_its_mapping_network() -> None:
    generator = MobileStyleGAN(replace(SMALL, z_dim=SMALL.w_dim))
    zero = torch.zeros(2, SMALL.w_dim)
    whole = LatentOffset(generator.mapping, SMALL.mapping_layers)
    assert not whole(zero).any()
    expected = generator.mapping(zero + 1) - generator.mapping(zero)
    torch.testing.assert_close(whole(zero + 1), expected)


# -- smaller images -----------------------------------------------------------------------------


@pytest.mark.parametrize("size", [32, 16, 8, 4])
def test_exact_small_images_are_area_means(generator: MobileStyleGAN, size: int) -> None:
    w = codes()
    expected = F.avg_pool2d(generator.synthesis(w), 64 // size)
    images = generator.resize(size, exact=True).synthesis(w)
    torch.testing.assert_close(images, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("index", range(4))
def test_downsampled_kernels_filter_and_take_means_at_once(index: int) -> None:
    x = torch.zeros(2, 4, 3, 5, 6)
    x[:, index] = torch.randn(2, 3, 5, 6)
    kernels = torch.randn(3, 1, 3, 3)
    fine = ops.depthwise(ops.inverse_haar(x.flatten(1, 2)), kernels)
    coarse = ops.depthwise(x[:, index], downsample_kernels(kernels, *BANDS[index]))
    torch.testing.assert_close(coarse, F.avg_pool2d(fine, 2), rtol=1e-4, atol=1e-5)


def test_downsampled_block_lacks_only_what_it_says(
    generator: MobileStyleGAN, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without its two approximations, the leaky ReLU's and the dropped detail, it is exact."""
    monkeypatch.setattr(ops, "SLOPE", 1.0)
    last = generator.synthesis.stages[-1]
    last.conv2.depthwise[:] = 0
    last.conv2.depthwise[:, :, 1, 1] = 1  # sees no detail beyond its own block
    w = codes()
    expected = F.avg_pool2d(generator.synthesis(w), 4)
    images = generator.resize(16).synthesis(w)
    torch.testing.assert_close(images, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(generator.resize(8).synthesis(w), F.avg_pool2d(expected, 2))


def test_sizes_it_cannot_make(generator: MobileStyleGAN) -> None:
    with pytest.raises(UserError, match=r"image_size=24: expected one of \[64, 32, 16, 8, 4\]"):
        generator.resize(24)
    generator.resize(16)
    for size, exact in ((64, False), (16, True)):
        with pytest.raises(UserError, match="half its resolution"):
            generator.resize(size, exact)


def test_copies_are_independent(generator: MobileStyleGAN) -> None:
    w, twin = codes(), copy.deepcopy(generator)
    twin.resize(16)
    assert twin.synthesis(w).shape[-1] == 16 and generator.synthesis(w).shape[-1] == 64


def test_sizes_that_no_wavelet_can_have() -> None:
    for channels in ((8, 8), (8, 6, 8), (0, 4, 4)):
        with pytest.raises(ValueError, match="channels"):
            MobileStyleGANConfig(channels=channels)


# -- OpenVINO IR --------------------------------------------------------------------------------


class Writer:
    """Writes an IR file as far as the reader looks at it."""

    def __init__(self) -> None:
        self.net = ElementTree.Element("net", name="toy", version="10")
        self.layers = ElementTree.SubElement(self.net, "layers")
        self.edges = ElementTree.SubElement(self.net, "edges")
        self.bytes = b""

    def layer(self, kind: str, name: str = "", inputs: tuple[str, ...] = (), **data: str) -> str:
        id_ = str(len(self.layers))
        attributes = {"id": id_, "name": name or f"{kind}_{id_}", "type": kind}
        element = ElementTree.SubElement(self.layers, "layer", attributes)
        if data:
            ElementTree.SubElement(element, "data", data)
        for port, source in enumerate(inputs):
            ends = {"from-layer": source, "from-port": "0", "to-layer": id_, "to-port": str(port)}
            ElementTree.SubElement(self.edges, "edge", ends)
        return id_

    def constant(self, values: Tensor, name: str = "") -> str:
        raw = values.detach().numpy().astype("<f4").tobytes()
        offset, self.bytes = str(len(self.bytes)), self.bytes + raw
        shape = ", ".join(map(str, values.shape))
        data = {"element_type": "f32", "shape": shape, "offset": offset, "size": str(len(raw))}
        return self.layer("Const", name, **data)

    def save(self, path: Path) -> None:
        path.write_bytes(ElementTree.tostring(self.net))
        path.with_suffix(".bin").write_bytes(self.bytes)


def interleaved(rows: Tensor) -> Tensor:
    """From bands apart to the file's order of channels."""
    low, *details = rows.chunk(4)
    return torch.cat([low, torch.stack(details, 1).flatten(0, 1)])


def export(generator: MobileStyleGAN, folder: Path) -> Path:
    """Write a network as the released package holds it."""
    folder.mkdir(exist_ok=True)
    writer = Writer()
    x = writer.layer("Parameter", "var")
    for layer in generator.mapping.layers:
        weight = writer.constant(layer.weight * 0.01 / layer.weight.shape[1] ** 0.5)
        x = writer.layer("MatMul", inputs=(x, weight))
        x = writer.layer("Add", inputs=(x, writer.constant(layer.bias * 0.01)))
    writer.save(folder / "MappingNetwork.xml")

    writer, s = Writer(), generator.synthesis
    style = writer.layer("Parameter", "style")

    def affine(layer: Affine, name: str, order: Callable[[Tensor], Tensor] = lambda x: x) -> None:
        writer.constant(order(layer.weight), f"m.{name}.modulation.weight")
        writer.constant(order(layer.bias)[None], f"m.{name}.modulation.bias")

    def convolution(weight: Tensor, bias: Tensor, noise: Tensor | None, name: str) -> None:
        x = writer.layer("Convolution", inputs=(style, writer.constant(weight)))
        bias_id = writer.constant(bias[None, :, None, None], f"m.{name}.bias")
        if noise is None:
            writer.layer("Add", inputs=(x, bias_id))
        else:  # the noise stands on either side
            operands = (x, writer.constant(noise[None, None]))
            writer.layer("Add", inputs=operands if len(noise) > 8 else operands[::-1])

    writer.constant(s.constant[None], "m.input.input")
    affine(s.affine, "conv1.conv")
    convolution(interleaved(s.conv.weight), interleaved(s.conv.bias), s.conv.noise, "conv1")
    for i, block in enumerate(s.blocks):
        name = f"layers.{i}"
        affine(block.up, f"{name}.up", interleaved)
        for j, layer, conv in ((1, block.affine1, block.conv1), (2, block.affine2, block.conv2)):
            affine(layer, f"{name}.conv{j}.conv")
            kernels = conv.depthwise[:, :, None]
            writer.constant(kernels, f"m.{name}.conv{j}.conv.weight_dw")
            weight, bias = conv.pointwise[:, :, None, None], conv.bias
            if j == 2 and i + 1 < len(s.blocks):
                weight, bias = interleaved(weight), interleaved(bias)
            convolution(weight, bias, conv.noise, f"{name}.conv{j}")
    affine(s.head.affine, f"{name}.to_img.conv")
    weight = interleaved(s.head.weight)[:, :, None, None]
    writer.constant(weight, f"m.{name}.to_img.conv.weight")
    convolution(weight, interleaved(s.head.bias), None, f"{name}.to_img")
    writer.save(folder / "SynthesisNetwork.xml")
    return folder


def test_a_written_network_is_read_back(generator: MobileStyleGAN, tmp_path: Path) -> None:
    folder, w, z = export(generator, tmp_path / "ir"), codes(), torch.randn(3, SMALL.z_dim)
    torch.manual_seed(5)
    loaded = load(folder)
    drawn = torch.rand(1)
    assert torch.equal(drawn, torch.rand(1, generator=torch.Generator().manual_seed(5)))
    assert loaded.config == SMALL and not loaded.training
    assert not any(weight.requires_grad for weight in loaded.parameters())
    torch.testing.assert_close(loaded.mapping(z), generator.mapping(z))
    torch.testing.assert_close(loaded.synthesis(w), generator.synthesis(w))
    for ours, theirs in zip(loaded.style_weights(), generator.style_weights(), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_statistics_are_the_same_every_time(generator: MobileStyleGAN, tmp_path: Path) -> None:
    folder = export(generator, tmp_path)
    first, second = load(folder), load(folder, 32)
    assert torch.equal(first.w_mean, second.w_mean) and torch.equal(first.w_std, second.w_std)
    w = first.mapping(torch.randn(4000, SMALL.z_dim))
    torch.testing.assert_close(first.w_mean, w.mean(0), rtol=0, atol=0.1)
    torch.testing.assert_close(first.w_std, w.std(0), rtol=0, atol=0.1)


def test_teachers_make_the_next_size(generator: MobileStyleGAN, tmp_path: Path) -> None:
    folder = export(generator, tmp_path)
    for asked, given in ((None, 64), (16, 16), (12, 16), (33, 64), (128, 64), (1, 4)):
        teacher, discriminator = load_teacher(folder, asked, exact=asked == 12)
        assert teacher.image_size == given and discriminator is None


def edit(pattern: str, replacement: str, file: str = "SynthesisNetwork.xml") -> Callable:
    """A change of an XML file's text."""

    def apply(folder: Path) -> None:
        text = (folder / file).read_text()
        changed = re.sub(pattern, replacement, text, count=1)
        assert changed != text
        (folder / file).write_text(changed)

    return apply


def cut(file: str, keep: float) -> Callable:
    def apply(folder: Path) -> None:
        raw = (folder / file).read_bytes()
        (folder / file).write_bytes(raw[: int(keep * len(raw))])

    return apply


def poison(folder: Path) -> None:
    values = np.fromfile(folder / "SynthesisNetwork.bin", dtype="<f4")
    values[7] = np.nan
    values.tofile(folder / "SynthesisNetwork.bin")


BOMB = (
    '<!DOCTYPE net [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">'
    '<!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;">]><net name="&c;"><layers/></net>'
)
FIRST = r'(m\.input\.input".*?)'
DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "no weights": (lambda f: (f / "SynthesisNetwork.bin").unlink(), "cannot be read as weights"),
    "empty weights": (cut("SynthesisNetwork.bin", 0), "cannot be read as weights"),
    "weights cut off": (cut("SynthesisNetwork.bin", 0.5), "ends at byte"),
    "mapping cut off": (cut("MappingNetwork.bin", 0.5), "ends at byte"),
    "no graph": (lambda f: (f / "MappingNetwork.xml").unlink(), "cannot be read as an OpenVINO"),
    "graph cut off": (cut("SynthesisNetwork.xml", 0.5), "cannot be read as an OpenVINO"),
    "empty graph": (cut("SynthesisNetwork.xml", 0), "cannot be read as an OpenVINO"),
    "binary graph": (
        lambda f: (f / "SynthesisNetwork.xml").write_bytes(b"\x80\x04\x95\0\0"),
        "cannot be read as an OpenVINO",
    ),
    "unknown encoding": (
        lambda f: (f / "SynthesisNetwork.xml").write_text(
            '<?xml version="1.0" encoding="x9"?><net/>'
        ),
        "cannot be read as an OpenVINO",
    ),
    "encoding of several bytes": (
        lambda f: (f / "SynthesisNetwork.xml").write_text(
            '<?xml version="1.0" encoding="cp932"?><net/>'
        ),
        "cannot be read as an OpenVINO",
    ),
    "entity bomb": (
        lambda f: (f / "SynthesisNetwork.xml").write_text(BOMB),
        "declares a document type",
    ),
    "external entity": (
        lambda f: (f / "SynthesisNetwork.xml").write_text(
            '<!DOCTYPE net [<!ENTITY x SYSTEM "file:///etc/hostname">]><net>&x;</net>'
        ),
        "declares a document type",
    ),
    "something else": (
        lambda f: (f / "SynthesisNetwork.xml").write_text("<html><layers/></html>"),
        "expected <net> with <layers>",
    ),
    "no layers": (
        lambda f: (f / "SynthesisNetwork.xml").write_text("<net><layers/></net>"),
        "damaged or another network",
    ),
    "no mapping network": (
        lambda f: (f / "MappingNetwork.xml").write_text("<net><layers/></net>"),
        "no mapping network in it",
    ),
    "layer without a name": (edit(r' name="m\.conv1\.bias"', ""), "not a sound OpenVINO IR"),
    "port that is no number": (edit(r'to-port="1"', 'to-port="x"'), "not a sound OpenVINO IR"),
    "offset beyond the end": (edit(FIRST + r'offset="\d+"', r'\1offset="99999999"'), "ends at"),
    "negative offset": (edit(FIRST + r'offset="\d+"', r'\1offset="-4"'), "no natural number"),
    "endless offset": (edit(FIRST + r'offset="\d+"', rf'\1offset="{"9" * 5000}"'), "no natural"),
    "size of another shape": (edit(FIRST + r'size="\d+"', r'\1size="8"'), "8 bytes for shape"),
    "gigantic constant": (
        edit(FIRST + r'shape="[^"]*" (.*?)size="\d+"', r'\1shape="100000000000" \2size="4"'),
        "bytes for shape",
    ),
    "gigantic constant with its size": (
        edit(FIRST + r'shape="[^"]*"(.*?)size="\d+"', r'\1shape="100000000"\2size="400000000"'),
        "ends at byte",
    ),
    "transposed constant": (edit(FIRST + r'"1, 16, 4, 4"', r'\1"1, 4, 16, 4"'), "expected float32"),
    "unknown type": (edit(FIRST + r"f32", r"\1f16"), "described badly"),
    "integers": (edit(FIRST + r"f32", r"\1i32"), "expected float32"),
    "not finite": (poison, "not finite"),
    "constant missing": (edit(r"m\.layers\.1\.conv1\.bias", "m.other"), "conv1.bias' is missing"),
    "constant of another type": (
        edit(r'(m\.conv1\.bias" type=)"Const"', r'\1"Parameter"'),
        "expected a constant",
    ),
    "block missing": (edit(r"m\.layers\.2\.up\.modulation\.bias", "m.other"), "is missing"),
    "convolution missing": (edit(r'"Convolution"', '"Convolved"'), "7 convolutions, expected 8"),
    "attribute twice": (edit(r'type="Add"', 'type="Add" id="x"'), "cannot be read"),
    "mapping bias missing": (
        edit(r'shape="10"', 'shape="1, 10"', "MappingNetwork.xml"),
        "2 biases for 3 layers",
    ),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damaged_files_are_refused_in_one_line(name: str, tmp_path: Path) -> None:
    damage, expected = DAMAGE[name]
    folder = export(build(), tmp_path)
    damage(folder)
    with pytest.raises(UserError) as caught:
        load(folder)
    message = str(caught.value)
    assert expected in message and "\n" not in message and str(folder) in message
    assert len(message) < 400


def test_widths_beyond_any_network_are_refused_before_allocation(tmp_path: Path) -> None:
    """A bias of a million channels is a small file, its layers' weights are not."""
    folder, writer = export(build(), tmp_path), Writer()
    for i in range(2):
        writer.constant(torch.zeros(1, 1_000_000), f"m.layers.{i}.up.modulation.bias")
    writer.constant(torch.zeros(1, 4), "m.layers.1.to_img.conv.modulation.bias")
    writer.save(folder / "SynthesisNetwork.xml")
    with pytest.raises(UserError, match=r"no MobileStyleGAN in it .*1000000"):
        load(folder)


def test_reader_of_connections(tmp_path: Path) -> None:
    writer = Writer()
    source = writer.constant(torch.arange(6.0).reshape(2, 3), "values")
    lonely = writer.constant(torch.zeros(1))
    writer.layer("Add", "sum", (source, source))
    writer.layer("Add", "other", (source,))
    writer.save(tmp_path / "net.xml")
    ir = IntermediateRepresentation(tmp_path / "net.xml")
    assert [layer.name for layer in ir.of_type("Add")] == ["sum", "other"]
    assert ir.operand(ir.named("sum"), 1) == ir.named("values")
    values = ir.constant(ir.named("values"), (1, 2, 3))
    assert values.tolist() == [[[0, 1, 2], [3, 4, 5]]]
    values += 1  # a copy: the file stays as it is
    assert ir.constant(ir.named("values"), (2, 3))[0, 0] == 0
    with pytest.raises(UserError, match="2 readers"):
        ir.consumer(ir.layers[source])
    with pytest.raises(UserError, match="0 readers"):
        ir.consumer(ir.layers[lonely])
    with pytest.raises(UserError, match="nothing on input 1"):
        ir.operand(ir.named("other"), 1)
