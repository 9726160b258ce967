"""The toy plug-in, installed as a user would install a plug-in, and the command line in process."""

from __future__ import annotations

import random
import shutil
import socket
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from hatchling.build import build_wheel
from PIL import Image

from gan3d_bench.config import compose
from gan3d_bench.files import checkpoints
from gan3d_bench.files.run_folder import Run
from gan3d_bench.machine.optional_packages import why_missing
from gan3d_bench.registry import registry
from gan3d_bench.tracking import media
from gan3d_bench.training.fit import build

PLUGIN = Path(__file__).parent / "e2e" / "toy_plugin"


def global_seed(name: str) -> int:
    """What the global random states are seeded with for the test or shared fixture `name`."""
    return zlib.crc32(name.encode())


def _seed(name: str) -> None:
    random.seed(global_seed(name))
    np.random.seed(global_seed(name))
    torch.manual_seed(global_seed(name))


# Networks are initialised from the global random state, and so are some tests' inputs. It is the
# same for a test whichever tests ran before it, in this process or in another: no test passes or
# fails by chance or by order.


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    _seed(getattr(item, "originalname", item.name))
    if item.get_closest_marker("pytorch3d"):
        reason = why_missing("pytorch3d")
        if reason:
            pytest.skip(f"PyTorch3D {reason}")


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(
    fixturedef: pytest.FixtureDef[object], request: pytest.FixtureRequest
) -> Iterator[None]:
    """A fixture that tests share is made by whichever of them comes first."""
    if fixturedef.scope == "function":
        return (yield)
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    _seed(fixturedef.argname)
    try:
        return (yield)
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])


@pytest.fixture(scope="session")
def toy_site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the toy plug-in installed in it from a wheel; made without a network."""
    folder = tmp_path_factory.mktemp("toy")
    source, site = folder / "source", folder / "site"
    shutil.copytree(PLUGIN, source)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(source)
        wheel = build_wheel(str(folder))
    with zipfile.ZipFile(folder / wheel) as archive:
        archive.extractall(site)
    return site


@pytest.fixture
def short_films(monkeypatch: pytest.MonkeyPatch) -> None:
    """Films of few views, at the end of each run; `tracking/test_media.py` looks at whole ones."""
    monkeypatch.setattr(media, "turntable", partial(media.turntable, steps=5))


@pytest.fixture
def toy(
    toy_site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, short_films: None
) -> Iterator[Path]:
    """An empty working folder, the toy plug-in importable and registered in this process."""
    monkeypatch.syspath_prepend(str(toy_site))
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GAN3D_BENCH_RUNS", raising=False)
    registry.cache_clear()
    yield tmp_path
    registry.cache_clear()


@dataclass(frozen=True)
class Outcome:
    """What a command left: exit code, standard output, standard error."""

    code: int
    out: str
    err: str


@pytest.fixture
def cli(toy: Path, capfd: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Run one command in this process, in the toy's working folder."""
    from gan3d_bench.cli import run

    def call(*arguments: object) -> Outcome:
        capfd.readouterr()
        code = run([str(argument) for argument in arguments])
        captured = capfd.readouterr()
        return Outcome(code, captured.out, captured.err)

    return call


@pytest.fixture
def untrained(toy: Path) -> Callable[..., Run]:
    """Makes a run of a method's preset ``check`` as it is before its first step."""

    def make(method: str, *overrides: str) -> Run:
        config = compose(registry("methods").get(method), "check", None, list(overrides))
        run = Run.create(config, {})
        state = {
            "state_dict": build(run.spec, run.config).state_dict(),
            "phase": {"index": 0, "step": 0},
            checkpoints.KEY: checkpoints.card(config),
        }
        checkpoints.AtomicCheckpointIO().save_checkpoint(state, run.checkpoint)
        return run

    return make


@pytest.fixture
def tests_on_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes `children` and its like importable by name, here and in the processes it starts."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))


@pytest.fixture
def free_port() -> int:
    """A TCP port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def synface_folder(tmp_path: Path) -> Path:
    """A folder of Synface's layout, three pictures of noise a split: a square before a wall."""
    root = tmp_path / "synface"
    rng = np.random.default_rng(0)
    for split in ("train", "val", "test"):
        for kind in ("image", "depth"):
            (root / split / kind).mkdir(parents=True)
        for number in range(3):
            picture = rng.integers(0, 255, (256, 256, 3), dtype=np.uint8)
            depth = np.zeros((256, 256), np.uint8)
            depth[100:156, 100:156] = 255
            name = f"{number:06d}_{{}}_1_1.png"
            Image.fromarray(picture).save(root / split / "image" / name.format("image"))
            Image.fromarray(depth).save(root / split / "depth" / name.format("depth"))
    return root
