"""The teacher that a name stands for."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from gan3d_bench.errors import UserError
from gan3d_bench.generators.stylegan2.checkpoint import save_network
from gan3d_bench.generators.stylegan2.official import export_discriminator, export_generator
from gan3d_bench.generators.stylegan2.teacher import random_pair
from gan3d_bench.generators.teachers import load_teacher

GENERATOR, _ = random_pair(16)


def test_teachers(tmp_path):
    again, discriminator = random_pair(16)
    assert all(
        torch.equal(a, b) for a, b in zip(again.parameters(), GENERATOR.parameters(), strict=True)
    )
    save_network(again, tmp_path / "generator.safetensors")
    assert load_teacher(str(tmp_path)).discriminator is None
    save_network(discriminator, tmp_path / "discriminator.safetensors")
    loaded = load_teacher(str(tmp_path))
    assert loaded.discriminator is not None
    assert not any(p.requires_grad for p in loaded.generator.parameters())
    assert torch.equal(
        load_teacher(f"stylegan2:{tmp_path}").generator.synthesis.constant,
        loaded.generator.synthesis.constant,
    )
    with pytest.raises(UserError, match="random-16 or random-32"):
        load_teacher("random-64")


def test_what_is_no_teacher(tmp_path):
    """One line with the key, the value and what was expected; no advice to run foreign code."""
    (tmp_path / "text.pt").write_text("text")
    torch.save({"g_ema": tmp_path, "d": {}}, tmp_path / "code.pt")
    torch.save({"g": {}}, tmp_path / "half.pt")
    torch.save([1, 2], tmp_path / "list.pt")
    good = released_teacher()
    convs = {key: value for key, value in good["d"].items() if key != "convs.0.0.weight"}
    for name, state in {
        "g_ema-none": {**good, "g_ema": None},
        "g_ema-list": {**good, "g_ema": ["input.input"]},
        "g_ema-text": {**good, "g_ema": {"input.input": "x"}},
        "g_ema-keys": {**good, "g_ema": {1: torch.zeros(1)}},
        "g_ema-nan": {**good, "g_ema": {k: v * torch.nan for k, v in good["g_ema"].items()}},
        "g_ema-scalars": {**good, "g_ema": {k: torch.zeros(()) for k in good["g_ema"]}},
        "d-none": {**good, "d": None},
        "d-tensor": {**good, "d": torch.zeros(3)},
        "d-part": {**good, "d": convs},
        "d-odd": {**good, "d": {**good["d"], "convs.x": torch.zeros(1)}},
        "d-scalars": {**good, "d": {k: torch.zeros(()) for k in good["d"]}},
        "latent_avg-text": {**good, "latent_avg": "mean"},
        "latent_avg-short": {**good, "latent_avg": torch.zeros(3)},
    }.items():
        torch.save(state, tmp_path / f"{name}.pt")
    names = [str(path) for path in sorted(tmp_path.glob("*.pt"))]
    assert len(names) == 17
    for name in [*names, "", ".", "heads", "inception-fid", "/dev/null", "nowhere.pt", "a\0b"]:
        with pytest.raises(UserError) as error:
            load_teacher(name)
        message = str(error.value)
        assert message.startswith(f"teacher={name!r}: ")
        assert "expected" in message
        assert "weights_only" not in message
        assert "\n" not in message
        part = Path(name).stem.partition("-")[0]
        assert part not in ("g_ema", "d") or f": {part}: " in message
    torch.save(good, tmp_path / "good.pt")
    load_teacher(str(tmp_path / "good.pt"))


def released_teacher() -> dict[str, dict[str, torch.Tensor]]:
    """A small untrained teacher as released ``.pt`` files hold one."""
    generator, discriminator = random_pair(16)
    return {"g_ema": export_generator(generator), "d": export_discriminator(discriminator)}
