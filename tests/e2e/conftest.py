"""Commands in processes of their own, see `children`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest

TIMEOUT = 300


@dataclass(frozen=True)
class Ended:
    """Exit code (minus the signal's number for a killed process) and everything printed."""

    code: int
    text: str


@pytest.fixture
def child(toy_site: Path, tmp_path: Path, tests_on_path: None) -> Callable[..., Ended]:
    """Run a command in another process and wait for it."""
    import children

    def call(*arguments: object, prepare: str = "", options: tuple[Any, ...] = ()) -> Ended:
        process = children.start(
            arguments,
            tmp_path,
            path=[toy_site],
            prepare=getattr(children, prepare) if prepare else None,
            options=options,
        )
        return _wait(process, tmp_path / "output")

    return call


@pytest.fixture
def pair(
    toy_site: Path, tmp_path: Path, free_port: int, tests_on_path: None
) -> Callable[..., list[Ended]]:
    """Run a command in two processes as torchrun starts them; `prepare` acts on `rank` only."""
    import children

    def call(
        *arguments: object, prepare: str = "", options: tuple[Any, ...] = (), rank: int = 1
    ) -> list[Ended]:
        processes = []
        for number in range(2):
            environment = children.torchrun_environment(number, free_port)
            act = getattr(children, prepare) if prepare and number == rank else None
            processes.append(
                children.start(
                    arguments,
                    tmp_path,
                    path=[toy_site],
                    environment=environment,
                    prepare=act,
                    options=options if act else (),
                    name=f"output{number}",
                )
            )
        return [_wait(p, tmp_path / f"output{n}") for n, p in enumerate(processes)]

    return call


def _listing(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() if path.is_file() else b"" for path in folder.rglob("*")}


@pytest.fixture
def refused(cli: Callable[..., Any], toy: Path) -> Callable[..., str]:
    """Run a command that must fail and write nothing; returns the line it says."""

    def call(*arguments: object) -> str:
        before = _listing(toy)
        found = cli(*arguments)
        assert found.code == 2, found.out + found.err
        assert found.out == ""
        (line,) = found.err.splitlines()
        assert line.startswith("gan3d-bench: error: ")
        assert _listing(toy) == before
        return line.removeprefix("gan3d-bench: error: ")

    return call


def _wait(process: BaseProcess, output: Path) -> Ended:
    process.join(TIMEOUT)
    if process.exitcode is None:
        process.kill()
        process.join()
        pytest.fail(f"did not end within {TIMEOUT} s; printed: {output.read_text()}")
    return Ended(process.exitcode, output.read_text())
