"""IR-SE50: small ones, and its released file as identity network."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from gan3d_bench.errors import UserError
from gan3d_bench.faces import embeddings, identity_files
from gan3d_bench.faces.embeddings import build_identity
from gan3d_bench.faces.irse import IRSEEmbedding, IRSETrunk, identity_crop

small = partial(IRSEEmbedding, 4, (1, 1, 1, 1), 8)


@pytest.mark.parametrize("depths", [(1, 1, 1, 1), (3, 4, 14, 3), (2, 1, 3, 1)])
def test_stages_halve_the_picture(depths: tuple[int, ...]) -> None:
    trunk = IRSETrunk(6, 4, depths).eval()
    shapes = [tuple(x.shape) for x in trunk.stages(torch.rand(2, 6, 48, 48))]
    assert shapes == [(2, 4 * 2**i, 24 // 2**i, 24 // 2**i) for i in range(4)]
    assert len(trunk.body) == sum(depths)


@pytest.mark.parametrize("depths", [(1, 1, 1), (1, 1, 0, 1)])
def test_impossible_depths(depths: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="expected 1 or more, four depths"):
        IRSETrunk(3, 4, depths)


def test_the_crop_of_other_sizes_shows_the_same() -> None:
    y, x = torch.meshgrid(*[(torch.arange(512) + 0.5) / 512] * 2, indexing="ij")
    large = torch.stack((x, y, x * y))[None]
    half = F.avg_pool2d(large, 2)
    torch.testing.assert_close(identity_crop(large), identity_crop(half), rtol=0, atol=2e-3)


def test_an_identity_network_from_the_released_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(identity_files, "IRSEEmbedding", small)
    monkeypatch.setattr(embeddings, "IRSEEmbedding", small)
    torch.manual_seed(0)
    network, path = small().eval(), tmp_path / "model_ir_se50.pth"
    torch.save(network.state_dict(), path)
    identity = build_identity(path)
    assert not identity.state_dict()
    assert identity.name.startswith("IR-SE50 model_ir_se50.pth (")
    pictures = torch.rand(2, 3, 256, 256) * 2 - 1
    expected = network(identity_crop(pictures))
    torch.testing.assert_close(identity(pictures), expected, rtol=0, atol=1e-5)
    torch.save({"x": torch.zeros(2)}, path)
    with pytest.raises(UserError, match=r"'input_layer\.0\.weight' is missing"):
        build_identity(path)
    torch.save([1], path)
    with pytest.raises(UserError, match=r"no weights in it; expected model_ir_se50\.pth"):
        build_identity(path)
