"""Stored rows, and the table they make together."""

import json
import math
from dataclasses import replace

import pytest

from gan3d_bench.benchmarks.results import Estimate, Result, load_results, merge, save_result
from gan3d_bench.errors import UserError
from gan3d_bench.spec import Column, Reported, TableSpec

SPEC = TableSpec(
    name="toy",
    title="Toys",
    columns=(Column("error", "Error", digits=2), Column("score", "Score", higher_is_better=True)),
    rows=("Baseline", "Ours", "Theirs"),
    measure="none:None",
    protocol="All toys are equal.",
    reported=(Reported("toy", "Theirs", "error", 0.25, "Paper, Table 1"),),
)


def result(row: str, items: list[int], error: list[float], run: str = "runs/x") -> Result:
    values = {"error": error, "score": [float(item) for item in items]}
    return Result("toy", row, run, "toys, test", {"image_size": 64}, items, values, {"seed": 0})


def test_a_row_comes_back_from_its_file(tmp_path):
    stored = result("Ours", [0, 2, 5], [0.5, math.nan, 1.5])
    path = tmp_path / "tables" / "toy.row.json"
    save_result(stored, path)
    (loaded,) = load_results(path)
    assert math.isnan(loaded.values["error"][1])
    assert replace(loaded, values={}) == replace(stored, values={})
    assert json.loads(path.read_text())["summary"]["error"]["mean"] == 1.0


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "{}", '{"results": [{"row": 1}]}', '"text"', "\x00\xff"]
)
def test_a_damaged_file_is_one_clear_line(tmp_path, content):
    path = tmp_path / "toy.json"
    path.write_text(content, encoding="latin-1")
    with pytest.raises(UserError, match=r"toy\.json: not stored results") as caught:
        load_results(path)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_one_clear_line(tmp_path):
    with pytest.raises(UserError, match=r"none\.json: No such file"):
        load_results(tmp_path / "none.json")


def test_items_and_values_must_go_together(tmp_path):
    content = result("Ours", [0, 1], [0.5, 1.0]).to_json()
    content["values"]["error"].pop()
    path = tmp_path / "toy.json"
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match="items and values differ"):
        load_results(path)


def test_rows_are_compared_on_their_common_items():
    table = merge(
        SPEC,
        [
            result("Baseline", [0, 1, 2, 3], [1.0, 2.0, 4.0, 50.0], "baseline"),
            result("Ours", [1, 2, 7], [1.0, 1.5, 9.0]),
        ],
    )
    assert list(table.items) == [1, 2]
    baseline, ours, _ = table.lines
    assert baseline.cells["error"].measured == Estimate(3.0, 1.0, 2)
    assert ours.cells["error"].measured == Estimate(1.25, 0.25, 2)
    assert (baseline.count, ours.count) == (2, 2)


def test_the_best_measured_mean_is_marked_in_its_direction():
    table = merge(
        SPEC,
        [result("Baseline", [0, 1], [1.0, 1.0]), result("Ours", [0, 1], [0.9, 0.9])],
    )
    baseline, ours, theirs = table.lines
    assert (baseline.cells["error"].best, ours.cells["error"].best) == (False, True)
    assert baseline.cells["score"].best  # equal means are equally good
    assert ours.cells["score"].best
    assert not theirs.cells["error"].best  # 0.25 is better, but only reported


def test_a_bound_is_never_the_best():
    results = [result("Baseline", [0, 1], [0.1, 0.1]), result("Ours", [0, 1], [0.9, 0.9])]
    baseline, ours, _ = merge(replace(SPEC, bounds=("Baseline",)), results).lines
    assert not baseline.cells["error"].best
    assert ours.cells["error"].best
    alone = merge(replace(SPEC, bounds=("Baseline",)), results[:1])
    assert not any(line.cells["error"].best for line in alone.lines)


def test_a_row_without_a_run_says_why():
    table = merge(SPEC, [], reasons={"Theirs": "reported only"})
    baseline, _, theirs = table.lines
    assert (baseline.note, theirs.note) == ("no run given", "reported only")
    assert theirs.cells["error"].measured is None
    assert theirs.cells["error"].reported.value == 0.25


def test_an_item_that_cannot_be_compared_is_said_and_not_averaged_away():
    table = merge(SPEC, [result("Ours", [0, 1], [0.5, math.nan])])
    ours = table.lines[1]
    assert ours.note == "1 of 2 items could not be compared"
    assert ours.cells["error"].measured is None
    assert ours.cells["score"].measured is not None


def test_other_protocols_are_refused():
    small = result("Ours", [0], [1.0], "runs/a")
    large = replace(small, row="Baseline", run="runs/b", protocol={"image_size": 128})
    with pytest.raises(UserError, match=r"'Baseline' \(runs/b\) was measured with image_size=128"):
        merge(SPEC, [small, large])


def test_rows_without_a_common_item_are_refused():
    with pytest.raises(UserError, match=r"Baseline \(runs/x\): 0-2; Ours \(runs/x\): 5, 7-8"):
        merge(
            SPEC, [result("Baseline", [0, 1, 2], [1.0] * 3), result("Ours", [5, 7, 8], [1.0] * 3)]
        )


def test_other_tables_are_refused():
    with pytest.raises(UserError, match="a result of table 'other'; expected 'toy'"):
        merge(SPEC, [replace(result("Ours", [0], [1.0]), table="other")])


def test_rows_of_plug_ins_come_after_the_tables_own():
    table = merge(SPEC, [result("Plug-in", [0], [1.0])])
    assert [line.row for line in table.lines] == ["Baseline", "Ours", "Theirs", "Plug-in"]


def test_several_runs_of_one_row_stand_one_below_the_other():
    table = merge(SPEC, [result("Ours", [0], [1.0], "a"), result("Ours", [0], [2.0], "b")])
    assert [line.run for line in table.lines if line.row == "Ours"] == ["a", "b"]
