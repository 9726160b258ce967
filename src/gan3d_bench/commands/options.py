"""Numbers on the command line: each is declared with the range that it must lie in."""

from __future__ import annotations

from typing import Any

import typer

from gan3d_bench.errors import UserError

SEEDS = {"least": 0, "most": 2**32 - 1}
SIDES = {"least": 16, "most": 1024, "power_of_two": True}
"""Of square images, in pixels."""
ANGLES = {"least": -360, "most": 360}
STEPS = {"least": 0, "most": 1_000_000}
WEIGHTS = {"least": 0, "most": 1e6}
"""Of loss terms."""
SUBJECTS = {"least": 1, "most": 64}


def number(help: str, **limits: Any) -> Any:
    """Declare an option that takes a number, or several, in a range.

    Args:
        help: one line.
        limits: as of `gan3d_bench.config.key`, both a lower and an upper one; what is no finite
            number is then outside, too. A number outside is a `UserError`.
    """

    def check(parameter: typer.CallbackParam, value: Any) -> Any:
        from gan3d_bench.config import Key

        key = Key(**limits)
        for part in value if isinstance(value, (list, tuple)) else [value]:
            if part is not None and not key.allows(part):
                raise UserError(f"{parameter.opts[0]} {part}: expected {key.limits}")
        return value

    return typer.Option(help=help, callback=check)
