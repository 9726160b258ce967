"""What is too large for the machine is refused with the estimate, before anything is made."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from gan3d_bench.config import RunConfig, compose, override
from gan3d_bench.datamodules.shards import encode
from gan3d_bench.datamodules.specs import HEAD_BYTES, heads_need
from gan3d_bench.errors import UserError
from gan3d_bench.machine import room
from gan3d_bench.machine.room import GIB, free_memory, require_room
from gan3d_bench.registry import BUILTIN, registry

PRESETS = [
    (name, preset)
    for name in BUILTIN["methods"]
    for preset in registry("methods").get(name).presets
    if not preset.startswith("paper")
]


def config(method: str, *overrides: str) -> RunConfig:
    preset = {"liftedgan": "heads-64"}.get(method)
    return compose(registry("methods").get(method), preset, None, overrides)


@pytest.mark.parametrize(
    ("method", "overrides", "said"),
    [
        ("gan2shape", ("instances=100000",), "instances=100000"),
        ("gan2shape", ("samples_per_instance=1000000",), "samples_per_instance=1000000"),
        ("gan2shape", ("warmup.pool=100000000",), "warmup.pool=100000000"),
        ("gan2shape", ("batch=65536", "samples_per_instance=65536"), "batch=65536"),
        ("supervised", ("data.val=100000000",), "data.train=4096 data.val=100000000"),
        ("supervised", ("batch=65536", "image_size=1024"), "batch=65536 image_size=1024"),
        ("stylegan2", ("data.count=100000000",), "data.count=100000000"),
        ("stylegan2", ("data.name=heads", "data.count=100000000"), "data.count=100000000"),
        (
            "stylegan2",
            ("data.name=cars", "data.count=100000000"),
            "data.count=100000000",
        ),
        ("stylegan2", ("batch=65536",), "batch=65536 network.image_size=64"),
        ("idnet", ("people.train=1000000", "people.pictures=1000"), "people.train=1000000 people"),
        ("idnet", ("batch=65536", "image_size=1024"), "batch=65536 image_size=1024"),
        ("liftedgan", ("statistics=100000000",), "statistics=100000000"),
        (
            "stylegan-r",
            ("dataset.objects=1000000",),
            "dataset.objects=1000000 candidates.each=2",
        ),
        ("liftedgan", ("batch=65536", "image_size=256"), "batch=65536"),
    ],
)
def test_what_is_too_large(
    method: str, overrides: tuple[str, ...], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "free_memory", lambda: 4 * GIB)
    asked = config(method, *overrides)
    with pytest.raises(UserError) as caught:
        require_room(asked)
    message = str(caught.value)
    assert said in message.partition(":")[0] and "\n" not in message
    # as the line says
    raised = re.findall(r"limits\.\w+=\d[\de.+]*", message)
    assert len(raised) == 1
    limits = ["limits.memory=1e6", "limits.disk=1e6"]
    require_room(override(asked, limits))
    limits = [limit for limit in limits if limit.partition("=")[0] not in raised[0]]
    require_room(override(asked, [*limits, *raised]))


@pytest.mark.parametrize(("method", "preset"), PRESETS)
def test_presets_fit(method: str, preset: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "free_memory", lambda: 4 * GIB)
    given = {
        "wtri": ["teacher=random-eg3d"],
        "uv3dmm": ["teacher=heads-teacher-64"],
        "stylegan-r": ["teacher=random-16"],
    }.get(method)
    require_room(compose(registry("methods").get(method), preset, None, given or []))


def test_a_head_takes_as_much_as_is_reckoned() -> None:
    size = 16
    channels = {"image": 3, "albedo": 3, "mask": 1, "normal": 3, "depth": 1}
    maps = {name: torch.ones(1, count, size, size) for name, count in channels.items()}
    stored = sum(tensor.numel() * tensor.element_size() for tensor in encode(maps).values())
    assert stored == HEAD_BYTES * size**2 == heads_need({}, 1, size).disk


def test_free_memory_is_no_more_than_the_group_of_processes_may_take(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = free_memory()
    assert whole is not None and whole > GIB / 8
    (tmp_path / "max").write_text("1000\n")
    (tmp_path / "none").write_text("max\n")
    monkeypatch.setattr(room, "CGROUPS", (str(tmp_path / "none"), str(tmp_path / "max")))
    assert free_memory() == 1000


def test_the_command_refuses_at_once(
    cli: Callable[..., Any], toy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GAN3D_BENCH_HOME", str(toy / "home"))
    began = time.monotonic()
    found = cli("fit", "--method", "supervised", "data.val=100000000", "trainer.accelerator=cpu")
    assert found.code == 2
    assert "100004096 rendered heads make the run take at least" in found.err
    assert time.monotonic() - began < 20
    assert list(toy.iterdir()) == []
    assert (
        "expected a number above 0, at most"
        in cli("fit", "--method", "supervised", "data.val=4294967295").err
    )
