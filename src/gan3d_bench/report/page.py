"""Put the page together: what is shown, and the template it is shown by."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gan3d_bench.benchmarks import formats
from gan3d_bench.benchmarks.results import Result
from gan3d_bench.benchmarks.table import Table
from gan3d_bench.report.curves import Curve, curves
from gan3d_bench.report.showcase import Exhibit, Group, Picture
from gan3d_bench.report.template import fill


@dataclass(frozen=True)
class Section:
    """A table with all that belongs to it."""

    table: Table
    figures: Sequence[Picture] = ()
    left_out: Sequence[str] = ()
    curves: Sequence[Curve] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "curves", curves(self.table))

    @property
    def sources(self) -> dict[str, str]:
        """The table as text to copy, by format."""
        return {form: formats.render(self.table, form) for form in ("latex", "markdown", "csv")}


def page(sections: Sequence[Section], groups: Sequence[Group]) -> str:
    """Return the page as one HTML text that needs no other file and no network.

    See `report.template` on why nothing in a result runs or is fetched.

    Args:
        sections: tables, in order; those without results come last, folded.
        groups: what runs show.
    """
    exhibits: list[Exhibit] = [shown for group in groups for shown in group.exhibits]
    return fill(
        "page.html",
        ["page.css"],
        "viewer.js",
        measured=[section for section in sections if section.table.results],
        unmeasured=[section for section in sections if not section.table.results],
        groups=groups,
        exhibits=[shown for shown in exhibits if shown.meshes],
        formats=formats,
        provenance=provenance,
    )


def provenance(result: Result) -> list[tuple[str, str]]:
    """Return all that is known of where a result comes from, as (key, value) in words."""
    facts: dict[str, Any] = {
        "run": result.run,
        "data": result.data,
        "items": f"{len(result.items)}: {json.dumps(list(result.items))}",
        **result.provenance,
        "protocol": result.protocol,
    }
    return [(key, value) for key, value in _flat(facts) if value not in ("", "None")]


def _flat(facts: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for key, value in facts.items():
        name = f"{prefix}{key}".replace("_", " ")
        if isinstance(value, Mapping):
            found += _flat(value, f"{name}, ")
        elif key == "command" and isinstance(value, Sequence) and not isinstance(value, str):
            found.append((name, shlex.join(map(str, value))))
        elif isinstance(value, (list, tuple)):
            found.append((name, json.dumps(value)))
        else:
            found.append((name, str(value)))
    return found
