"""``gan3d-bench import`` and ``export`` as a user meets them."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from gan3d_bench.generators.teachers import load_teacher

sys.path.insert(0, str(Path(__file__).parents[1]))
import official_files as files

Cli = Callable[..., Any]


def close(actual: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-4)


@pytest.fixture
def snapshot(toy: Path) -> Path:
    path = toy / "network-snapshot.pkl"
    path.write_bytes(files.PICKLE.read_bytes())
    return path


@pytest.fixture
def checkpoint(toy: Path) -> Path:
    path = toy / "550000.pt"
    path.write_bytes(files.torch_bytes(files.rosinality()))
    return path


# -- whole files --------------------------------------------------------------------------------


def test_nvidia_pickle(cli: Cli, toy: Path, snapshot: Path) -> None:
    found = cli("import", snapshot.name, "--as", "stylegan2")
    assert found.code == 0, found.err
    folder = toy / "network-snapshot"
    assert sorted(path.name for path in folder.iterdir()) == [
        "card.json",
        "discriminator.safetensors",
        "generator.safetensors",
    ]
    assert sorted(path.name for path in toy.iterdir()) == [folder.name, snapshot.name]
    card = json.loads((folder / "card.json").read_text())
    assert card["source"] == {
        "file": snapshot.name,
        "sha256": hashlib.sha256(snapshot.read_bytes()).hexdigest(),
    }
    assert card["origin"] == "NVlabs/stylegan2-ada-pytorch"
    assert card["image_size"] == 16
    assert card["channels"] == {"4": 8, "8": 8, "16": 4}
    assert card["conv_clamp"] == 256
    assert card["w_mean"] == "in the file"
    assert "keep the licence" in card["licence"]
    _, arrays = files.vector("stylegan2_nvidia_pickle")
    teacher = load_teacher(str(folder))
    assert card["parameters"] == {
        "generator": sum(p.numel() for p in teacher.generator.parameters()),
        "discriminator": sum(p.numel() for p in teacher.discriminator.parameters()),
    }
    close(teacher.generator(arrays["z"]), arrays["out_G_ema_image"])
    close(teacher.discriminator(arrays["x"]), arrays["out_D_logits"])
    assert "NVlabs/stylegan2-ada-pytorch, 16 x 16 pixels" in found.out
    assert "fit --method gan2shape" in found.out
    assert "teacher=network-snapshot" in found.out


def test_rosinality_checkpoint(cli: Cli, toy: Path, checkpoint: Path) -> None:
    found = cli("import", checkpoint, "--as", "stylegan2", "--out", "teachers/mine")
    assert found.code == 0, found.err
    card = json.loads((toy / "teachers/mine/card.json").read_text())
    assert card["name"] == "mine"
    assert card["origin"] == "rosinality/stylegan2-pytorch"
    _, arrays = files.vector("stylegan2_rosinality")
    teacher = load_teacher("teachers/mine")
    close(teacher.generator.synthesis(arrays["w_plus"]), arrays["out_w_plus_image"])
    close(teacher.generator(arrays["z"], psi=0.7), arrays["out_trunc_image"])


def test_without_mean_of_w_and_discriminator(cli: Cli, toy: Path, checkpoint: Path) -> None:
    content = {"g_ema": files.rosinality()["g_ema"]}
    checkpoint.write_bytes(files.torch_bytes(content, zipped=False))
    found = cli("import", checkpoint, "--as", "stylegan2")
    assert found.code == 0, found.err
    assert "no discriminator; mean of w computed from 10000 latents, seed 0" in found.out
    card = json.loads((toy / "550000/card.json").read_text())
    assert card["w_mean"] == "computed from 10000 latents, seed 0"
    assert card["parameters"]["discriminator"] is None
    assert card["noise_maps"] == "in the file" and card["notes"] == []
    assert not (toy / "550000/discriminator.safetensors").exists()


def test_what_is_left_out_or_made_up_is_told(cli: Cli, toy: Path, checkpoint: Path) -> None:
    content = files.rosinality()
    content["d"]["mapping.weight"] = torch.zeros(3)
    content["g_ema"] = {k: v for k, v in content["g_ema"].items() if not k.startswith("noises.")}
    checkpoint.write_bytes(files.torch_bytes(content))
    found = cli("import", checkpoint, "--as", "stylegan2")
    assert found.code == 0, found.err
    note = "discriminator left out: d: unknown key 'mapping.weight', expected a StyleGAN2 network"
    assert f"note:     {note}" in found.out.splitlines()
    card = json.loads((toy / "550000/card.json").read_text())
    assert card["notes"] == [note]
    assert card["noise_maps"] == "not in the file; drawn, seed 0"
    assert card["parameters"]["discriminator"] is None


def test_there_and_back(cli: Cli, toy: Path, snapshot: Path) -> None:
    """NVIDIA's pickle -> ours -> rosinality's file -> ours: the same weights, the same images."""
    assert cli("import", snapshot, "--as", "stylegan2", "--out", "a").code == 0
    found = cli("export", "a", "out/ros.pt")
    assert found.code == 0, found.err
    assert "conv_clamp=256 is left out" in found.out
    exported = torch.load("out/ros.pt", weights_only=True)
    assert sorted(exported) == ["d", "g_ema", "latent_avg"]
    assert [path.name for path in (toy / "out").iterdir()] == ["ros.pt"]
    assert cli("import", "out/ros.pt", "--as", "stylegan2", "--out", "b").code == 0
    _, arrays = files.vector("stylegan2_nvidia_pickle")
    first, second = load_teacher("a"), load_teacher("b")
    for key, value in first.generator.state_dict().items():
        assert torch.equal(second.generator.state_dict()[key], value), key
    close(second.generator(arrays["z"]), arrays["out_G_ema_image"])
    close(second.discriminator(arrays["x"]), arrays["out_D_logits"])


def test_the_bundled_teacher_is_exported(cli: Cli, toy: Path) -> None:
    folder = cli("assets", "where", "heads-teacher-64").out.strip()
    found = cli("export", folder, "heads.pt")
    assert found.code == 0, found.err
    assert "no channel_multiplier" in found.out
    assert cli("import", "heads.pt", "--as", "stylegan2").code == 0
    z = torch.randn(2, 256, generator=torch.manual_seed(0))
    images = [load_teacher(name).generator(z) for name in ("heads-teacher-64", "heads")]
    close(images[1], images[0])


def test_help_imports_no_torch() -> None:
    code = (
        "import sys\n"
        "from gan3d_bench.cli import run\n"
        "assert run(['import', '--help']) == run(['export', '--help']) == 0\n"
        "print([n for n in ('torch', 'numpy', 'lightning') if n in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    assert "--as" in found.stdout
    assert found.stdout.splitlines()[-1] == "[]"


# -- mistakes -----------------------------------------------------------------------------------


def test_nothing_is_overwritten(refused: Callable[..., str], toy: Path, snapshot: Path) -> None:
    (toy / "network-snapshot").mkdir()
    (toy / "network-snapshot" / "mine.txt").touch()
    (toy / "mine.pt").touch()
    message = refused("import", snapshot, "--as", "stylegan2")
    assert "network-snapshot: expected a new or empty folder, nothing is overwritten" in message
    message = refused("import", snapshot, "--as", "stylegan2", "--out", "mine.pt")
    assert "--out mine.pt: expected a folder; mine.pt is a file" in message
    message = refused("export", "network-snapshot", "mine.pt")
    assert message == "mine.pt: expected a new file, nothing is overwritten"


def test_an_empty_folder_is_filled(cli: Cli, toy: Path, snapshot: Path) -> None:
    (toy / "empty").mkdir()
    assert cli("import", snapshot, "--as", "stylegan2", "--out", "empty").code == 0
    assert (toy / "empty" / "card.json").is_file()


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["--as", "stylegan"], ["unknown --as 'stylegan'", "did you mean 'stylegan2'"]),
        ([], ["--as"]),
        (["--as", "stylegan2", "--as", "stylegan2"], ["--as is given 2 times"]),
    ],
)
def test_command_lines(
    refused: Callable[..., str], snapshot: Path, arguments: list[str], parts: list[str]
) -> None:
    message = refused("import", snapshot, *arguments)
    for part in parts:
        assert part in message


def test_what_is_no_file(refused: Callable[..., str], toy: Path) -> None:
    os.mkfifo(toy / "pipe")
    for name in (".", "absent.pkl", "n" * 5000, "pipe", "/dev/zero"):
        message = refused("import", name, "--as", "stylegan2")
        assert "no such file; expected an official checkpoint" in message


def test_what_cannot_be_exported(refused: Callable[..., str], toy: Path) -> None:
    (toy / "empty").mkdir()
    assert "absent: expected a folder with generator.safetensors" in refused(
        "export", "absent", "x.pt"
    )
    assert "no such file" in refused("export", "empty", "x/y.pt")
    (toy / "empty" / "generator.safetensors").write_text("text")
    assert "not a safetensors file" in refused("export", "empty", "x/y.pt")


def test_wrong_networks_are_named(refused: Callable[..., str], snapshot: Path) -> None:
    def conditional(content: dict[str, Any]) -> None:
        content["G_ema"].state["c_dim"] = 10

    snapshot.write_bytes(files.changed(conditional))
    message = refused("import", snapshot, "--as", "stylegan2")
    assert message == (f"{snapshot}: G_ema: a conditional network (c_dim=10), expected c_dim=0")


@pytest.fixture(scope="module")
def sentinel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hostile") / "sentinel"


@pytest.fixture(scope="module")
def contents(sentinel: Path) -> dict[str, bytes]:
    return files.hostile(sentinel)


def test_hostile_files(
    refused: Callable[..., str], snapshot: Path, sentinel: Path, contents: dict[str, bytes]
) -> None:
    """Each is refused at once with one line that names the file; no payload runs."""
    refused("import", "absent", "--as", "stylegan2")  # imports are not counted
    for name, content in contents.items():
        snapshot.write_bytes(content)
        start = time.process_time()
        message = refused("import", snapshot.name, "--as", "stylegan2")
        assert time.process_time() - start < 5, name
        assert message.startswith(f"{snapshot.name}: "), name
        assert "expected" in message, name
        assert not sentinel.exists(), name
