"""The similarity loss on a ResNet-50 from a file as MoCo's."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torchvision.models import resnet50

from gan3d_bench.errors import UserError
from gan3d_bench.losses.similarity import SimilarityLoss


@pytest.fixture(scope="module")
def network() -> torch.nn.Module:
    torch.manual_seed(0)
    return resnet50(weights=None).eval()


@pytest.fixture(scope="module")
def file(network: torch.nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As released: the trained network, its average and an optimiser's state."""
    path = tmp_path_factory.mktemp("moco") / "moco.pth.tar"
    own = network.state_dict()
    state = {f"module.encoder_q.{key}": value for key, value in own.items()}
    state["module.encoder_k.conv1.weight"] = torch.zeros_like(own["conv1.weight"])
    state["module.queue"] = torch.zeros(2, 2)
    torch.save({"epoch": 800, "arch": "resnet50", "state_dict": state}, path)
    return path


def test_it_is_one_less_the_cosine_of_pooled_features(network: torch.nn.Module, file: Path) -> None:
    loss = SimilarityLoss(file)
    assert not loss.state_dict()
    assert not list(loss.parameters())
    rng = torch.Generator().manual_seed(0)
    x, y = (torch.rand(2, 3, 112, 112, generator=rng) * 2 - 1 for _ in range(2))
    x.requires_grad_()
    found = loss(x, y)
    network.fc = torch.nn.Identity()
    with torch.no_grad():
        # twice as large by the nearest pixel: every pixel four times; no normalisation
        a, b = (network(z.repeat_interleave(2, 2).repeat_interleave(2, 3)) for z in (x, y))
    expected = 1 - torch.nn.functional.cosine_similarity(a, b)
    torch.testing.assert_close(found.detach(), expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(loss(x, x).detach(), torch.zeros(2), rtol=0, atol=1e-5)
    found.sum().backward()
    assert x.grad.abs().max() > 0
    assert "moco.pth.tar" in loss.name


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({"state_dict": {}}, "no weights"),
        ([1, 2], "no weights"),
        ({"conv1.weight": torch.zeros(64, 3, 7, 7)}, "'bn1.weight' is missing"),
    ],
)
def test_files_of_something_else(tmp_path: Path, content: object, reason: str) -> None:
    path = tmp_path / "other.pth.tar"
    torch.save(content, path)
    with pytest.raises(UserError, match=reason) as caught:
        SimilarityLoss(path)
    assert str(path) in str(caught.value)


def test_files_that_are_missing_or_damaged(tmp_path: Path) -> None:
    path = tmp_path / "moco.pth.tar"
    with pytest.raises(UserError, match="no such file"):
        SimilarityLoss(path)
    path.write_bytes(b"PK\x03\x04nothing")
    with pytest.raises(UserError, match="not a readable checkpoint"):
        SimilarityLoss(path)
