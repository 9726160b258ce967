"""Rows that several runs have measured, each on its own test items."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import fitted_faces
import pytest
from PIL import Image

from gan3d_bench.benchmarks.parts import join_parts
from gan3d_bench.benchmarks.results import Estimate, Result
from gan3d_bench.benchmarks.shape.spec import SPEC
from gan3d_bench.benchmarks.table import merge
from gan3d_bench.config import compose
from gan3d_bench.files.run_folder import Run
from gan3d_bench.methods.gan2shape.spec import SPEC as GAN2SHAPE

ROW = "GAN2Shape, symmetric"


def result(items: list[int], run: str = "a", whole: str | None = "w", **changes: Any) -> Result:
    facts = {"whole_sha256": whole, "setup_sha256": f"{whole}{items[0]}", "seed": 0}
    facts |= {key: changes.pop(key) for key in list(changes) if key in facts}
    plain: dict[str, Any] = {
        "row": ROW, "protocol": {"version": SPEC.version}, "sets": {},
        "values": {"side": [float(item) for item in items]},
    }  # fmt: skip
    plain |= changes
    return Result(table="shape", run=run, data="heads", items=items, provenance=facts, **plain)


def test_parts_are_one_row_in_the_order_of_their_items() -> None:
    (joined,) = join_parts([result([4, 5], "a"), result([0, 1], "b"), result([2], "a")])
    assert joined.items == [0, 1, 2, 4, 5]
    assert joined.values == {"side": [0.0, 1.0, 2.0, 4.0, 5.0]}
    assert joined.run == "a; b; a"


def test_parts_take_the_mean_error_of_all_away_from_angles() -> None:
    parts = [
        replace(result([0, 1], "a"), signed={"yaw": [3.0, 5.0]}),
        replace(result([2, 3], "b"), signed={"yaw": [-1.0, 1.0]}),
    ]
    (joined,) = join_parts(parts)
    assert joined.signed == {"yaw": [3.0, 5.0, -1.0, 1.0]}
    assert joined.at("yaw", [0, 1, 2, 3]) == pytest.approx([1, 3, 3, 1])
    assert joined.at("yaw", [0, 1]) == pytest.approx([1, 1])  # of these alone
    estimate = joined.estimate("yaw", range(4))
    assert estimate is not None and estimate.mean == pytest.approx(2)
    again = Result.from_json(json.loads(json.dumps(joined.to_json())))
    assert again.signed == joined.signed
    assert joined.to_json()["summary"]["yaw"]["mean"] == pytest.approx(2)
    broken = {**joined.to_json(), "signed": {"yaw": [1.0]}}
    with pytest.raises(ValueError, match="differ in number"):
        Result.from_json(broken)


@pytest.mark.parametrize(
    "other",
    [
        result([1, 2]),  # both have item 1
        result([2], whole="another"),
        result([2], whole=None),
        result([2], seed=1),
        result([2], row="GAN2Shape, weak prior"),
        result([2], protocol={"version": SPEC.version, "image_size": 128}),
        result([2], values={"mad": [1.0]}),
        result([2], values={}, sets={"fid": Estimate(1.0, 0.1, 1)}),
    ],
)
def test_what_is_no_part_stays_apart(other: Result) -> None:
    first = result([0, 1])
    assert join_parts([first, other]) == [first, other]


def test_a_table_is_of_all_parts_and_keeps_them() -> None:
    halves = [result([0, 1]), result([2, 3], "b")]
    whole = result([0, 1, 2, 3], "c", "supervised", row="Supervised")
    table = merge(SPEC, [*halves, whole])
    assert table.items == [0, 1, 2, 3]
    lines = {line.row: line for line in table.lines if line.count}
    assert lines[ROW].count == 4
    assert lines[ROW].run == "a; b"
    measured = lines[ROW].cells["side"].measured
    assert measured is not None
    assert measured.mean == 1.5
    assert table.results == [*halves, whole]  # what is stored can be joined again


def test_seeds_of_rows_in_parts_become_one_line() -> None:
    parts = [result([0]), result([1], "b"), result([0], "c", seed=1), result([1], "d", seed=1)]
    table = merge(SPEC, parts)
    (line,) = [line for line in table.lines if line.count]
    assert len(line.results) == 2
    assert table.items == [0, 1]


def test_instances_are_parts_where_groups_know_nothing_of_each_other() -> None:
    alone = compose(GAN2SHAPE, "check", overrides=["group=1"])
    assert alone.part_keys() == ("first", "instances")
    assert compose(GAN2SHAPE, "check").part_keys() == ()  # all at once


def test_two_runs_of_a_head_each_fill_one_row(cli) -> None:
    heads = (
        "data=heads", "split=test", "image_size=64", "teacher=heads-teacher-64", "instances=1",
        "group=1", "stages=1", "inversion.steps=2", "supersample=1", "trainer.preview_every=-1",
    )  # fmt: skip
    fit = ("fit", "--method", "gan2shape", "--preset", "check", *heads)
    for first in (0, 1):
        made = cli(*fit, f"first={first}", f"trainer.threads={1 + first}")
        assert made.code == 0, made.err
    one, two = sorted(Path("runs/gan2shape/check").iterdir())
    assert Run.open(one).setup != Run.open(two).setup
    assert Run.open(one).whole == Run.open(two).whole is not None
    shown = cli("eval", "--table", "shape", "--run", one, "--run", two, "--samples", 2,
                "--out", "results")  # fmt: skip
    assert shown.code == 0, shown.err
    table = json.loads(Path("results/shape.json").read_text())
    assert table["items"] == [0, 1]
    rows = {row["row"]: row for row in table["rows"]}
    assert rows[ROW]["side"]["measured"]["count"] == 2
    assert rows[ROW]["run"] == f"{one}; {two}"
    assert rows["Constant depth"]["side"]["measured"]["count"] == 2
    fitted_faces.main(["fitted.png", str(one)])
    with Image.open("fitted.png") as picture:
        assert picture.mode == "RGB" and picture.width > 5 * picture.height  # a row of columns
