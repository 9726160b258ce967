"""The user's own package index, asked the way their pip is configured.

The index address, mirrors, find-links folders, proxies, certificates and credentials are pip's
business, so pip's own finder and session do the asking. ``pip download`` itself is no use here: for
an sdist it runs the package's build code. pip's Python interface is internal and may change; this
file is the only one that touches it, and says so in one line when it does not fit.
"""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from gan3d_bench.errors import UserError

if TYPE_CHECKING:
    from gan3d_bench.assets.registry import Archive

PIECE = 256 * 1024


@dataclass
class Download:
    """An open download. `start` is the first byte that `pieces` yields (0: from the beginning)."""

    start: int
    pieces: Iterator[bytes]


class DownloadError(Exception):
    """The connection failed; what came so far may be continued."""


class PackageIndex:
    """pip's finder and session under the user's configuration. A context manager.

    Raises:
        UserError: pip is absent, its interface is not the known one, or its configuration is bad.
    """

    def __init__(self) -> None:
        self._failures: list[str] = []

    def __enter__(self) -> PackageIndex:
        self._quiet = contextlib.ExitStack()
        self._quiet.enter_context(_captured_log(self._failures))
        try:
            self._connect()
        except SystemExit as error:
            self._quiet.close()
            raise UserError("pip's configuration is not valid; see: pip config debug") from error
        except (ImportError, AttributeError, TypeError) as error:
            self._quiet.close()
            raise UserError(
                "assets are fetched through pip's configuration, but this environment's pip does "
                f"not fit ({type(error).__name__}: {error}); run: pip install 'pip>=23.2'"
            ) from error
        return self

    def __exit__(self, *exception: object) -> None:
        self._session.close()
        self._quiet.close()

    def _connect(self) -> None:
        from pip._internal.commands import create_command
        from pip._internal.models.format_control import FormatControl

        command: Any = create_command("download")
        # The archive is cached unpacked by us; a second copy in pip's cache would be waste.
        options, _ = command.parse_args(["--no-input", "--no-cache-dir", "x"])
        options.format_control = FormatControl(set(), set())  # nothing is built or installed
        self._session = command._build_session(options)
        self._build_finder = partial(
            command._build_package_finder, options, self._session, ignore_requires_python=True
        )

    def find(self, archive: Archive) -> str:
        """Return the address of `archive` on the first index or folder that carries it.

        Raises:
            UserError: the index is out of reach, or does not carry the file.
        """
        self._failures.clear()
        try:
            finder = self._build_finder(target_python=_target(archive.filename))
            candidates = finder.find_all_candidates(archive.distribution)
        except Exception as error:  # whatever pip raises, the user needs the reason in one line
            raise UserError(f"cannot ask the package index: {_one_line(error)}") from error
        for candidate in candidates:
            if candidate.link.filename == archive.filename:
                return candidate.link.url_without_fragment
        wanted = f"{archive.filename} ({archive.distribution}=={archive.version})"
        if self._failures:
            raise UserError(
                f"cannot reach the package index for {wanted}: {self._failures[0]}; "
                "see: pip config list"
            )
        raise UserError(
            f"the package index does not carry {wanted}; set PIP_INDEX_URL to one that does, "
            "or PIP_FIND_LINKS to a folder that holds the file"
        )

    def open(self, url: str, start: int) -> Download:
        """Open `url` from byte `start` if the server can, else from its beginning.

        Raises:
            DownloadError: no connection, or a server's error. Reading may raise it too.
        """
        headers = {"Accept-Encoding": "identity"}
        if start:
            headers["Range"] = f"bytes={start}-"
        with _download_errors():
            response = self._session.get(url, headers=headers, stream=True)
        if response.status_code == 206:
            sent = response.headers.get("Content-Range", "")
            if not sent.startswith(f"bytes {start}-"):
                raise DownloadError(f"the server sent another range than asked ({sent})")
            return Download(start, _pieces(response))
        if response.status_code == 416:  # our part does not fit the server's file
            response.close()
            return self.open(url, 0)
        if response.status_code != 200:
            raise DownloadError(f"HTTP {response.status_code} {response.reason}")
        return Download(0, _pieces(response))


def _target(filename: str) -> Any:
    """The Python that a wheel is for: only its files are wanted, whatever Python runs here."""
    from pip._internal.models.target_python import TargetPython

    if not filename.endswith(".whl"):
        return None
    python, abi, platform = filename.removesuffix(".whl").split("-")[-3:]
    version = re.fullmatch(r"cp(\d)(\d+)", python)
    if version is None:  # for any Python
        return None
    numbers = int(version[1]), int(version[2])
    return TargetPython(platform.split("."), numbers, [abi], implementation="cp")


def _pieces(response: Any) -> Iterator[bytes]:
    from pip._internal.network.utils import response_chunks

    with contextlib.closing(response), _download_errors():
        yield from response_chunks(response, PIECE)


@contextlib.contextmanager
def _download_errors() -> Iterator[None]:
    from pip._internal.exceptions import PipError
    from pip._vendor.requests.exceptions import RequestException
    from pip._vendor.urllib3.exceptions import HTTPError

    try:
        yield
    except (PipError, RequestException, HTTPError) as error:
        raise DownloadError(_one_line(error)) from error


@contextlib.contextmanager
def _captured_log(failures: list[str]) -> Iterator[None]:
    """Keep pip from printing; collect why pages could not be fetched (it only logs that)."""

    class Collect(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            message = record.getMessage()
            # A page that one of several indexes does not have is no failure.
            if message.startswith("Could not fetch URL") and " 404 " not in message:
                failures.append(_one_line(message.removesuffix(" - skipping")))

    handler = Collect()
    pip_log = logging.getLogger("pip")
    collector_log = logging.getLogger("pip._internal.index.collector")
    before = pip_log.propagate, collector_log.level
    pip_log.propagate = False
    collector_log.setLevel(logging.DEBUG)
    pip_log.addHandler(handler)
    try:
        yield
    finally:
        pip_log.removeHandler(handler)
        pip_log.propagate = before[0]
        collector_log.setLevel(before[1])


def _one_line(error: object) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 240 else text[:237] + "..."
