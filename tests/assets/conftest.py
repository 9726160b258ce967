"""A package index on this machine with one small sdist and one small wheel."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from gan3d_bench.assets import registry as assets_registry
from gan3d_bench.assets.registry import Archive, AssetRegistry, Member, PackagedAsset


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def tar_of(members: dict[str, bytes | tarfile.TarInfo]) -> bytes:
    """A .tar.gz; a TarInfo stands for a link or device."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in members.items():
            if isinstance(content, tarfile.TarInfo):
                tar.addfile(content)
                continue
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def wheel_of(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as wheel:
        for name, content in members.items():
            wheel.writestr(name, content)
    return buffer.getvalue()


@dataclasses.dataclass
class FakeIndex:
    """Serves `files` under a simple index; records requests and can misbehave."""

    port: int
    files: dict[str, bytes] = dataclasses.field(default_factory=dict)
    requests: list[tuple[str, str | None]] = dataclasses.field(default_factory=list)
    cut_after: int | None = None  # close the connection after so many bytes of a file
    ranges: bool = True
    file_status: int = 200

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/simple"

    def downloads(self, name: str) -> list[str | None]:
        """The Range headers with which the file was asked for."""
        return [asked for path, asked in self.requests if path == f"/files/{name}"]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.0"
    index: FakeIndex

    def do_GET(self) -> None:
        index = self.index
        index.requests.append((self.path, self.headers["Range"]))
        if self.path.startswith("/files/"):
            return self._file(index.files.get(self.path.removeprefix("/files/")))
        project = self.path.removeprefix("/simple/").strip("/")
        names = [name for name in index.files if name.replace("_", "-").startswith(project + "-")]
        if not names:
            return self._send(404, b"")
        links = "".join(f'<a href="/files/{name}">{name}</a>\n' for name in names)
        page = f"<!DOCTYPE html><html><body>{links}</body></html>"
        return self._send(200, page.encode(), {"Content-Type": "text/html"})

    def _file(self, data: bytes | None) -> None:
        index = self.index
        if data is None or index.file_status != 200:
            return self._send(404 if data is None else index.file_status, b"")
        asked = self.headers["Range"]
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0
        cut, index.cut_after = index.cut_after, None
        if not start or not index.ranges:
            return self._send(200, data, cut=cut)
        if start >= len(data):
            return self._send(416, b"")
        sent = f"bytes {start}-{len(data) - 1}/{len(data)}"
        return self._send(206, data[start:], {"Content-Range": sent}, cut=cut)

    def _send(
        self,
        status: int,
        body: bytes,
        headers: dict[str, str] | None = None,
        cut: int | None = None,
    ) -> None:
        self.send_response(status)
        for key, value in {**(headers or {}), "Content-Length": str(len(body))}.items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(body[:cut])

    def log_message(self, format: str, *args: object) -> None:
        """Stay quiet."""


WEIGHTS = bytes(range(256)) * 4096  # 1 MiB
OTHER = b"other weights" * 999


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeIndex]:
    """A running index holding toy_weights-1.0, the only one that pip is configured to ask, and an
    empty cache."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    fake = FakeIndex(server.server_address[1])
    server.RequestHandlerClass = type("Handler", (_Handler,), {"index": fake})
    sdist = tar_of(
        {
            "toy_weights-1.0/setup.py": b"raise SystemExit('foreign code must not run')",
            "toy_weights-1.0/net.ckpt": WEIGHTS,
            "toy_weights-1.0/other.ckpt": OTHER,
        }
    )
    wheel = wheel_of({"toy_wheel/net.pt": OTHER, "toy_wheel/__init__.py": b""})
    fake.files = {"toy_weights-1.0.tar.gz": sdist, "toy_wheel-2.0-py3-none-any.whl": wheel}
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    for key in ("PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL", "PIP_NO_INDEX"):
        monkeypatch.delenv(key, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")  # no file of the user's
    monkeypatch.setenv("PIP_INDEX_URL", fake.url)
    monkeypatch.setenv("PIP_RETRIES", "0")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("GAN3D_BENCH_HOME", str(tmp_path / "home"))
    yield fake
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def toy(index: FakeIndex, monkeypatch: pytest.MonkeyPatch) -> dict[str, PackagedAsset]:
    """The registry holds toy assets alone: net and other in the sdist, wheel in the wheel."""
    assets = {}
    for name, archive_name, member, content in (
        ("toy-net", "toy_weights-1.0.tar.gz", "toy_weights-1.0/net.ckpt", WEIGHTS),
        ("toy-other", "toy_weights-1.0.tar.gz", "toy_weights-1.0/other.ckpt", OTHER),
        ("toy-wheel", "toy_wheel-2.0-py3-none-any.whl", "toy_wheel/net.pt", OTHER),
    ):
        data = index.files[archive_name]
        distribution, version = archive_name.removesuffix(".tar.gz").split("-")[:2]
        archive = Archive(
            distribution.replace("_", "-"), version, archive_name, len(data), sha256(data)
        )
        assets[name] = PackagedAsset(
            name,
            "a toy",
            "toys",
            "MIT",
            archive,
            (Member(member, len(content), sha256(content)),),
        )
    use_assets(monkeypatch, assets)
    return assets


def use_assets(monkeypatch: pytest.MonkeyPatch, assets: dict[str, PackagedAsset]) -> None:
    found = AssetRegistry(dict(assets))
    for module in (
        "gan3d_bench.assets.registry",
        "gan3d_bench.assets.fetch",
        "gan3d_bench.assets.commands",
    ):
        monkeypatch.setattr(f"{module}.registry", lambda: found)
    assert assets_registry.get_asset(next(iter(assets)))
