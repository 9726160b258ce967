"""Rows measured in parts: runs that are each fitted to some of the test items. Imports no torch.

A method that is fitted to every subject by itself may share its subjects out among runs, on as many
machines as there are. The runs differ in the keys that say which subjects they have
(`RunConfig.part_keys`), and in nothing else; their results are one row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from gan3d_bench.benchmarks.results import Result


def join_parts(results: Sequence[Result]) -> list[Result]:
    """Put results together that are parts of one, where the first of them stands.

    Results that share an item, or have metrics of a whole set, stay apart.

    Args:
        results: of one table.
    """
    joined: list[Result] = []
    for result in results:
        for place, other in enumerate(joined):
            if _are_parts(other, result):
                joined[place] = _join(other, result)
                break
        else:
            joined.append(result)
    return joined


def _are_parts(one: Result, other: Result) -> bool:
    whole = one.provenance.get("whole_sha256")
    return (
        whole is not None
        and _whole(one) == _whole(other)
        and not set(one.items) & set(other.items)
        and not one.sets
        and not other.sets
    )


def _whole(result: Result) -> tuple[object, ...]:
    """What is the same of all parts of a row."""
    kept = {key: result.provenance.get(key) for key in ("whole_sha256", "seed")}
    columns = sorted((*result.values, *result.signed))
    return (result.table, result.row, dict(result.protocol), kept, columns)


def _join(one: Result, other: Result) -> Result:
    items = [*one.items, *other.items]
    order = sorted(range(len(items)), key=items.__getitem__)
    values, signed = (
        {key: [[*mine[key], *theirs[key]][place] for place in order] for key in mine}
        for mine, theirs in ((one.values, other.values), (one.signed, other.signed))
    )
    run = one.run if one.run == other.run else f"{one.run}; {other.run}"
    items = [items[place] for place in order]
    return replace(one, run=run, items=items, values=values, signed=signed)
