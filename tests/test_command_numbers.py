"""Every number that a command takes has a range; all commands are walked, so none is missed."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any, get_args, get_type_hints

import pytest
import typer
from typer.models import OptionInfo

from gan3d_bench.cli import app

WRONG = ("nan", "inf", "-inf", "1e30", "-1e30", "9" * 30, "-" + "9" * 30, "9" * 5000)


def commands(group: typer.Typer, path: tuple[str, ...] = ()) -> Iterator[tuple[list[str], Any]]:
    """Every command's words, its required arguments among them, and its function."""
    for info in group.registered_commands:
        function = info.callback
        assert function is not None
        words = [*path, info.name or function.__name__]
        hints = get_type_hints(function, include_extras=True)
        for parameter in inspect.signature(function).parameters.values():
            if parameter.default is parameter.empty:
                option = isinstance(hints[parameter.name].__metadata__[0], OptionInfo)
                words += [named(parameter.name), "nowhere"] if option else ["nowhere"]
        yield words, function
    for info in group.registered_groups:
        assert info.typer_instance is not None
        yield from commands(info.typer_instance, (*path, str(info.name)))


def named(parameter: str) -> str:
    return f"--{parameter.replace('_', '-')}"


def is_number(hint: Any) -> bool:
    return hint in (int, float) or any(is_number(part) for part in get_args(hint))


NUMBERS = [
    pytest.param(words, named(name), id=f"{words[0]} {named(name)}")
    for words, function in commands(app)
    for name in inspect.signature(function).parameters
    if is_number(get_type_hints(function)[name])
]


def test_there_are_numbers() -> None:
    assert len(NUMBERS) >= 20
    assert {param.values[0][0] for param in NUMBERS} >= {
        "eval", "render", "figures", "invert", "directions",
    }  # fmt: skip


@pytest.mark.parametrize(("words", "option"), NUMBERS)
def test_a_number_out_of_range_is_refused_before_anything_else(cli, words, option) -> None:
    for text in WRONG:
        refused = cli(*words, f"{option}={text}")
        assert refused.code == 2
        (line,) = refused.err.splitlines()
        assert option in line and ("expected" in line or "valid" in line), line
        assert len(line) < 1100
