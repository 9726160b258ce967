"""``gan3d-bench import --as liftedgan`` and back, on small random networks as released ones."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from gan3d_bench.errors import UserError
from gan3d_bench.methods.liftedgan.architecture import NETWORKS, Architecture
from gan3d_bench.methods.liftedgan.checkpoint import load_networks, save_networks
from gan3d_bench.methods.liftedgan.official import to_official

sys.path.insert(0, str(Path(__file__).parents[1]))
import official_files as files

SIZES = Architecture(
    image_size=32,
    w_dim=8,
    inject_channels=6,
    depth_channels=4,
    depth_most=8,
    depth_hidden=12,
    map_channels=8,
    map_most=8,
    map_hidden=5,
    decomposition_hidden=16,
    manipulation_hidden=20,
)
STEPS = 1234
AS = ("--as", "liftedgan")

Change = Callable[[dict[str, Any]], Any]


def random_states() -> dict[str, dict[str, Tensor]]:
    rng = torch.Generator().manual_seed(0)
    return {
        name: {key: torch.randn(shape, generator=rng) for key, shape in shapes.items()}
        for name, shapes in SIZES.shapes().items()
    }


def released(states: dict[str, dict[str, Tensor]]) -> dict[str, Any]:
    """What the released code saves: the optimiser is in it, too."""
    content = to_official(states, STEPS)
    head = {
        key: torch.ones_like(value) for key, value in content["netSD"].items() if "_style" in key
    }
    content["netSD"] |= head
    moments = {"step": STEPS, "exp_avg": torch.zeros(3), "exp_avg_sq": torch.zeros(3)}
    optimizer = {"state": {0: moments}, "param_groups": [{"betas": (0.9, 0.999), "params": [0]}]}
    return {
        **{
            key: OrderedDict(value) if key.startswith("net") else value
            for key, value in content.items()
        },
        "optimizer": optimizer,
        "epoch": 1,
    }


def equal(found: dict[str, dict[str, Tensor]], expected: dict[str, dict[str, Tensor]]) -> None:
    assert found.keys() == expected.keys()
    for name, state in expected.items():
        assert found[name].keys() == state.keys()
        for key, value in state.items():
            assert found[name][key].dtype == torch.float32
            assert torch.equal(found[name][key], value), (name, key)


@pytest.fixture
def states() -> dict[str, dict[str, Tensor]]:
    return random_states()


@pytest.fixture
def checkpoint(toy: Path) -> Callable[..., Path]:
    """Write a released file with something in it changed."""

    def write(change: Change = lambda content: None, *, zipped: bool = True) -> Path:
        content = released(random_states())
        change(content)
        path = toy / "checkpoint_009.pth"
        path.write_bytes(files.torch_bytes(content, zipped))
        return path

    return write


# -- whole files --------------------------------------------------------------------------------


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_import(
    cli: Callable[..., Any],
    toy: Path,
    checkpoint: Callable[..., Path],
    states: dict[str, dict[str, Tensor]],
    zipped: bool,
) -> None:
    path = checkpoint(zipped=zipped)
    found = cli("import", path.name, *AS)
    assert found.code == 0, found.err
    folder = toy / "checkpoint_009"
    assert sorted(p.name for p in folder.iterdir()) == ["card.json", "networks.safetensors"]
    assert sorted(p.name for p in toy.iterdir()) == [folder.name, path.name]
    equal(load_networks(folder), states)
    card = json.loads((folder / "card.json").read_text())
    assert card["source"] == {
        "file": path.name,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }
    assert (card["family"], card["origin"]) == ("liftedgan", "seasonSH/LiftedGAN")
    assert (card["image_size"], card["w_dim"], card["steps"]) == (32, 8, STEPS)
    assert card["parameters"] == {
        name: sum(value.numel() for value in state.values()) for name, state in states.items()
    }
    assert card["unused_style_head"] == "left out"
    assert "32 x 32 pixels" in found.out
    assert "fit --method liftedgan --preset PRESET start=checkpoint_009" in found.out


def test_what_is_imported_fits_the_networks(
    cli: Callable[..., Any], checkpoint: Callable[..., Path]
) -> None:
    assert cli("import", checkpoint(), *AS, "--out", "start").code == 0
    networks = SIZES.build()
    for name, state in load_networks(Path("start"), networks).items():
        networks[name].load_state_dict(state)
    del networks["transformation"]
    assert load_networks(Path("start"), networks).keys() == networks.keys()
    other = Architecture(**{**vars(SIZES), "depth_hidden": 16}).build()
    with pytest.raises(UserError, match=r"depth\.mapping\.layers\.0\.weight' is \(12, 8\), expec"):
        load_networks(Path("start"), other)


def test_several_gpus_and_no_unused_head(
    cli: Callable[..., Any],
    toy: Path,
    checkpoint: Callable[..., Path],
    states: dict[str, dict[str, Tensor]],
) -> None:
    def change(content: dict[str, Any]) -> None:
        used = {k: v for k, v in content["netSD"].items() if "model_style" not in k}
        content["netSD"] = used
        for entry in ("netD", "netSD"):
            content[entry] = {f"module.{key}": value for key, value in content[entry].items()}

    assert cli("import", checkpoint(change), *AS, "--out", "start").code == 0
    equal(load_networks(toy / "start"), states)
    card = json.loads((toy / "start" / "card.json").read_text())
    assert card["unused_style_head"] == "not in the file"


def test_there_and_back(
    cli: Callable[..., Any],
    toy: Path,
    checkpoint: Callable[..., Path],
    states: dict[str, dict[str, Tensor]],
) -> None:
    """Released file -> ours -> released file -> ours: the same keys, weights and steps."""
    path = checkpoint()
    assert cli("import", path, *AS, "--out", "a").code == 0
    found = cli("export", "a", "b.pth", *AS)
    assert found.code == 0, found.err
    assert "netSD.model_style, which nothing uses, is zeros" in found.out
    exported = torch.load("b.pth", weights_only=True)
    original = torch.load(path, weights_only=True)
    for entry in ("netD", "netT", "netSD", "netSC"):
        assert exported[entry].keys() == original[entry].keys()
        for key, value in original[entry].items():
            assert exported[entry][key].shape == value.shape
            if "model_style" not in key:
                assert torch.equal(exported[entry][key], value), key
    assert exported["global_step"] == STEPS
    assert cli("import", "b.pth", *AS).code == 0
    equal(load_networks(toy / "b"), states)


# -- mistakes -----------------------------------------------------------------------------------


def put(entry: str, key: str, value: Any) -> Change:
    return lambda content: content[entry].update({key: value})


def drop(*path: str) -> Change:
    def change(content: dict[str, Any]) -> None:
        for key in path[:-1]:
            content = content[key]
        del content[path[-1]]

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (drop("netT"), "no 'netT' in it; expected a checkpoint_XXX.pth of seasonSH/LiftedGAN"),
        (drop("global_step"), "no number of steps 'global_step' in it"),
        (lambda c: c.update(global_step=-3), "no number of steps 'global_step' in it"),
        (lambda c: c.update(global_step=True), "no number of steps 'global_step' in it"),
        (lambda c: c.update(netSC=[1]), "netSC: expected the names and tensors of a network"),
        (lambda c: c.update(netD={}), "'netD.network.4.weight' is missing"),
        (drop("netD", "inject.weight"), "'netD.inject.weight' is missing"),
        (drop("netSD", "model_view.mlp.6.bias"), "'netSD.model_view.mlp.6.bias' is missing"),
        (drop("netSD", "model_style.mlp.4.bias"), "'netSD.model_style.mlp.4.bias' is missing"),
        (put("netT", "extra", torch.ones(2)), "'netT.extra' is not expected"),
        (put("netSD", "model_style.mlp.2.bias", torch.ones(16)), "mlp.2.bias' is not expected"),
        (put("netD", "network.16.weight", torch.ones(8, 4, 4, 4)), "network.17.weight' is missing"),
        (
            put("netD", "head.6.weight", torch.ones(2, 4, 5, 5)),
            "'netD.head.6.weight' is (2, 4, 5, 5), expected (1, 4, 5, 5)",
        ),
        (put("netD", "inject.weight", torch.ones(())), "'netD.inject.weight' is (), expected"),
        (put("netD", "inject.weight", torch.ones(3, 6, 1, 1)), "expected a multiple of 4"),
        (
            put("netSC", "embed_view.mlp.10.weight", torch.ones(8)),
            "'netSC.embed_view.mlp.10.weight' is (8,), expected one row",
        ),
        (
            put("netSC", "model.mlp.9.bias", torch.full((8,), torch.nan)),
            "'netSC.model.mlp.9.bias' has values that are not finite numbers",
        ),
        (
            put("netSC", "model.mlp.9.bias", torch.ones(8, dtype=torch.int64)),
            "'netSC.model.mlp.9.bias' has values that are not finite numbers",
        ),
        (
            put("netT", "mlp.0.weight", torch.zeros(1).expand(2**40, 2)),
            "netT: its tensors are larger than the file",
        ),
    ],
)
def test_wrong_networks_are_named(
    refused: Callable[..., str], checkpoint: Callable[..., Path], change: Change, message: str
) -> None:
    path = checkpoint(change)
    found = refused("import", path.name, *AS)
    assert found.startswith(f"{path.name}: ")
    assert message in found
    assert "expected" in found


def test_a_stylegan2_file_is_another_family(refused: Callable[..., str], toy: Path) -> None:
    path = toy / "550000.pt"
    path.write_bytes(files.torch_bytes(files.rosinality()))
    assert "no 'netD' in it; expected a checkpoint_XXX.pth" in refused("import", path, *AS)
    path.write_bytes(files.torch_bytes(released(random_states())))
    assert "no g_ema or G_ema in it but 'netD'" in refused("import", path, "--as", "stylegan2")


def test_hostile_files(refused: Callable[..., str], checkpoint: Callable[..., Path]) -> None:
    """Each is refused at once with one line that names the file; no payload runs."""
    path = checkpoint()
    sentinel = path.parent.parent / "sentinel"
    whole = path.read_bytes()
    payload = files.Calls(os.system, f"touch {sentinel}")
    contents = files.hostile(sentinel) | {
        "in-netD": files.torch_bytes({"netD": payload}),
        "in-weight": files.torch_bytes(released(random_states()) | {"netSC": {"a": payload}}),
        "many-tensors": files.torch_bytes(
            {"netD": dict.fromkeys(map(str, range(3000)), torch.zeros(1))}
        ),
        **{f"cut-{share}": whole[: len(whole) * share // 100] for share in (1, 50, 99)},
    }
    refused("import", "absent", *AS)  # imports are not counted
    for name, content in contents.items():
        path.write_bytes(content)
        start = time.process_time()
        message = refused("import", path.name, *AS)
        assert time.process_time() - start < 5, name
        assert message.startswith(f"{path.name}: "), name
        assert "expected" in message, name
        assert not sentinel.exists(), name


@pytest.mark.parametrize("zipped", [True, False])
def test_what_is_not_asked_for_stays_inert(
    cli: Callable[..., Any], checkpoint: Callable[..., Path], tmp_path: Path, zipped: bool
) -> None:
    """A payload beside the networks is never run, and no reason to refuse these."""
    path, sentinel = checkpoint(), tmp_path / "sentinel"
    payload = files.Calls(os.system, f"touch {sentinel}")
    content = released(random_states()) | {"optimizer": payload}
    path.write_bytes(files.torch_bytes(content, zipped))
    found = cli("import", path, *AS)
    assert found.code == 0, found.err
    assert not sentinel.exists()


def test_folders_that_hold_something_else(
    refused: Callable[..., str], toy: Path, states: dict[str, dict[str, Tensor]]
) -> None:
    assert "absent: expected a folder with networks.safetensors" in refused(
        "export", "absent", "x.pth", *AS
    )
    (toy / "empty").mkdir()
    assert "no such file" in refused("export", "empty", "x.pth", *AS)
    (toy / "empty" / "networks.safetensors").write_text("text")
    assert "not a safetensors file" in refused("export", "empty", "x.pth", *AS)
    save_networks({**states, "other": {"a": torch.ones(1)}}, toy / "empty", STEPS)
    assert "'other.a' is of no network" in refused("export", "empty", "x.pth", *AS)
    save_networks({name: states[name] for name in NETWORKS[1:]}, toy / "empty", STEPS)
    assert "'depth.mapping.layers.0.weight' is missing" in refused("export", "empty", "x.pth", *AS)
    assert "unknown --as 'lifted'" in refused("export", "empty", "x.pth", "--as", "lifted")
