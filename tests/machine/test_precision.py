"""What `trainer.precision=auto` takes on processors and GPUs that are not here; who keeps it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml

from gan3d_bench.files.run_folder import Run
from gan3d_bench.machine.precision import Processor, resolve

SERVER = Processor(("avx2", "avx512_f", "avx512_bf16", "amx_bf16"), "AVX512")
LAPTOP = Processor(("avx2",), "AVX2")
ARM = Processor(("neon", "bf16"), "DEFAULT")
FIT = ("fit", "--method", "toy", "--preset", "discs", "trainer.accelerator=cpu")
TINY = ("depth_steps=2", "colour_steps=2", "batch_size=2", "trainer.preview_every=-1")


@pytest.mark.parametrize(
    ("processor", "native", "reason"),
    [
        (SERVER, True, "avx512_bf16 and amx_bf16"),
        (LAPTOP, False, "no bfloat16 instructions"),
        (Processor(("avx2", "avx512_f", "avx512_vnni"), "AVX512"), False, "no bfloat16"),
        (ARM, True, "bf16"),
        (replace(ARM, has_onednn=False), False, "oneDNN"),
        (replace(SERVER, onednn="AVX512_CORE"), False, "ONEDNN_MAX_CPU_ISA=AVX512_CORE"),
        (replace(SERVER, onednn="AVX512_CORE_BF16"), True, "avx512_bf16"),
        (replace(SERVER, aten="AVX2"), False, "held to AVX2"),
        (replace(SERVER, onednn="AVX2", aten="AVX2"), False, "AVX2"),
    ],
)
def test_bf16_counts_only_where_kernels_use_it(
    processor: Processor, native: bool, reason: str
) -> None:
    found, words = processor.bf16()
    assert found is native
    assert reason in words


def test_the_limits_are_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    features = {"avx2": True, "avx512_bf16": True, "sse2": True, "amx_bf16": False}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: features)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    assert Processor.here({}) == Processor(("avx2", "avx512_bf16"), "AVX512")
    assert not Processor.here({"ONEDNN_MAX_CPU_ISA": "avx2"}).bf16()[0]
    assert not Processor.here({"DNNL_MAX_CPU_ISA": "AVX512_CORE_VNNI"}).bf16()[0]
    assert Processor.here({"ONEDNN_MAX_CPU_ISA": "ALL"}).bf16()[0]


def pretend(
    monkeypatch: pytest.MonkeyPatch, processor: Processor, gpus: tuple[bool, ...] = ()
) -> None:
    """Have this processor, and GPUs that have bfloat16 or not."""
    current = SimpleNamespace(index=0)
    monkeypatch.setattr(Processor, "here", lambda *_: processor)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: bool(gpus))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: len(gpus))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: f"GPU {index}")

    class device:
        def __init__(self, index: int) -> None:
            self.index = index

        def __enter__(self) -> None:
            current.index = self.index

        def __exit__(self, *_: object) -> None:
            current.index = 0

    monkeypatch.setattr(torch.cuda, "device", device)
    monkeypatch.setattr(
        torch.cuda, "is_bf16_supported", lambda including_emulation: gpus[current.index]
    )


@pytest.mark.parametrize(
    ("processor", "gpus", "accelerator", "value"),
    [
        (SERVER, (), "auto", "bf16-mixed"),
        (LAPTOP, (), "auto", "32-true"),
        (LAPTOP, (True,), "auto", "bf16-mixed"),
        (SERVER, (False,), "gpu", "16-mixed"),
        (SERVER, (True, False), "cuda", "16-mixed"),
        (LAPTOP, (True,), "cpu", "32-true"),
        (SERVER, (), "mps", "32-true"),
    ],
)
def test_auto(
    monkeypatch: pytest.MonkeyPatch,
    processor: Processor,
    gpus: tuple[bool, ...],
    accelerator: str,
    value: str,
) -> None:
    pretend(monkeypatch, processor, gpus)
    assert resolve("auto", accelerator).value == value
    assert resolve("auto", accelerator, before="16-mixed").value == "16-mixed"
    assert resolve("32-true", accelerator, before="bf16-mixed").value == "32-true"


def test_a_run_says_its_precision_and_keeps_it_elsewhere(
    cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Began on a processor with bfloat16, stopped by a bad loss, resumed on one without."""
    pretend(monkeypatch, SERVER)
    began = cli(*FIT, *TINY, "losses.depth=1e39")
    assert began.code == 1, began.err
    words = "precision: bf16-mixed (auto: this processor has avx512_bf16 and amx_bf16)"
    assert [line for line in began.err.splitlines() if line.startswith("precision")] == [words]
    (run,) = Run.find("toy")
    assert yaml.safe_load((run.path / "config.yaml").read_text())["trainer"]["precision"] == (
        "bf16-mixed"
    )
    stored = json.loads((run.path / "environment.json").read_text())["precision"]
    assert stored["value"] == "bf16-mixed" and "avx512_bf16" in stored["reason"]

    pretend(monkeypatch, LAPTOP)
    text = (run.path / "config.yaml").read_text()
    (run.path / "config.yaml").write_text(text.replace("1.0e+39", "1.0"))
    resumed = cli("fit", "--method", "toy", "--resume")
    assert resumed.code == 0, resumed.err
    assert "precision: bf16-mixed (as the config says)" in resumed.err
    anew = cli(*FIT, *TINY)
    assert "precision: 32-true (auto: this processor has no bfloat16" in anew.err


def test_only_training_depends_on_it(cli: Callable[..., Any]) -> None:
    """A table of the same weights is the same to the bit, whatever the run was trained in."""
    assert cli(*FIT, *TINY, "trainer.precision=32-true").code == 0
    (run,) = Run.find("toy")
    measure = ("eval", "--table", "toy-depth", "--samples", 2, "--run", run.path, "--fresh")
    values = []
    for precision in ("32-true", "bf16-mixed"):
        path = run.path / "config.yaml"
        path.write_text(path.read_text().replace("precision: 32-true", f"precision: {precision}"))
        assert cli(*measure, "--out", precision).code == 0
        values.append(json.loads((run.tables / "toy-depth.toy.row.json").read_text())["values"])
    assert f"precision: {precision}" in path.read_text()
    assert values[0] == values[1]
