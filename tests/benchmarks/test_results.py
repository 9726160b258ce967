"""Stored rows, and the table they make together."""

import json
import math
from dataclasses import replace

import pytest

from gan3d_bench.benchmarks.results import Estimate, Result, load_results, save_result
from gan3d_bench.benchmarks.table import merge
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


def marked(table, metric: str = "error") -> list[str]:
    return [line.row for line in table.lines if line.cells[metric].marked]


def test_the_best_is_marked_where_it_leads_on_the_same_items_by_two_standard_errors():
    """The spread over items is large, that of the difference is not."""
    baseline = result("Baseline", [0, 1, 2], [1.0, 5.0, 9.0])
    table = merge(SPEC, [baseline, result("Ours", [0, 1, 2], [0.9, 4.8, 8.9])])
    assert marked(table) == ["Ours"]
    assert marked(table, "score") == []  # equal means: nobody leads; 0.25 is only reported
    assert marked(merge(SPEC, [baseline, result("Ours", [0, 1, 2], [0.5, 5.1, 8.9])])) == []
    assert marked(merge(SPEC, [baseline])) == []  # nobody to lead
    one = [result("Baseline", [0], [5.0]), result("Ours", [0], [0.1])]
    assert marked(merge(SPEC, one)) == []  # one item tells no error


def test_nobody_leads_a_row_whose_number_is_of_other_items():
    """Of a whole set, which says nothing of the items that the rows have in common."""
    rows = [result(row, [0, 1], [error] * 2) for row, error in (("Baseline", 1.0), ("Ours", 0.5))]
    theirs = result("Theirs", [0, 1, 2], [0.0] * 3)
    kept = {key: values for key, values in theirs.values.items() if key != "error"}
    whole = replace(theirs, values=kept, sets={"error": Estimate(0.1, 0.1, 3)})
    assert marked(merge(SPEC, rows)) == ["Ours"]
    assert marked(merge(SPEC, [*rows, whole])) == []


def test_the_best_must_lead_every_other_row():
    rows = [result(row, [0, 1], [error] * 2) for row, error in (("Baseline", 1.0), ("Ours", 0.5))]
    assert marked(merge(SPEC, [*rows, result("Theirs", [0, 1], [0.4, 0.7])])) == []
    assert marked(merge(SPEC, [*rows, result("Theirs", [0, 1], [0.6, 0.7])])) == ["Ours"]


def test_sets_of_items_are_compared_by_their_own_errors():
    def row(name: str, mean: float, error: float) -> Result:
        sets = {"error": Estimate(mean, error, 2)}
        return Result("toy", name, name, "toys", {}, [0, 1], {}, sets=sets)

    assert marked(merge(SPEC, [row("Baseline", 9.0, 0.3), row("Ours", 8.0, 0.3)])) == ["Ours"]
    assert marked(merge(SPEC, [row("Baseline", 8.5, 0.3), row("Ours", 8.0, 0.3)])) == []
    assert marked(merge(SPEC, [row("Baseline", 9.0, math.nan), row("Ours", 8.0, 0.3)])) == []


def test_differences_are_marked_where_they_are_above_zero():
    spec = replace(SPEC, columns=(Column("error", "Lead", difference=True),))
    rows = [
        result("Baseline", [0, 1, 2], [1.0, 1.2, 0.9]),
        result("Ours", [0, 1, 2], [9.0, -1.0, 1.0]),
        result("Theirs", [0, 1, 2], [2.0, 2.1, 2.2]),
    ]
    assert marked(merge(spec, rows)) == ["Baseline", "Theirs"]


def test_a_bound_is_never_the_best():
    results = [result(row, [0, 1], [error, error + 0.01]) for row, error in
               (("Baseline", 0.1), ("Ours", 0.9), ("Theirs", 1.9))]  # fmt: skip
    assert marked(merge(replace(SPEC, bounds=("Baseline",)), results)) == ["Ours"]
    assert marked(merge(SPEC, results)) == ["Baseline"]


def seeded(row: str, seed: int, error: list[float], setup: str = "a") -> Result:
    provenance = {"seed": seed, "setup_sha256": setup}
    plain = result(row, list(range(len(error))), error, f"runs/{setup}{seed}")
    return replace(plain, provenance=provenance)


def test_runs_that_differ_in_the_seed_alone_become_one_line():
    rows = [seeded("Ours", 0, [1.0, 2.0]), seeded("Ours", 1, [3.0, 4.0])]
    table = merge(SPEC, [*rows, seeded("Ours", 1, [7.0, 7.0], "b"), seeded("Ours", 1, [8.0, 8.0])])
    pooled, other, again = (line for line in table.lines if line.row == "Ours")
    assert pooled.run == "runs/a0; runs/a1"
    assert pooled.cells["error"].measured == Estimate(2.5, 0.5, 2)  # over items
    assert pooled.cells["error"].between == pytest.approx(math.sqrt(2))  # of 1.5 and 3.5
    assert [line.run for line in (other, again)] == ["runs/b1", "runs/a1"]
    assert math.isnan(other.cells["error"].between)


def test_the_spread_between_seeds_counts_against_a_lead():
    baseline = result("Baseline", [0, 1], [3.0, 3.01])
    near = [seeded("Ours", seed, [error] * 2) for seed, error in enumerate((1.9, 2.0, 2.1))]
    far = [seeded("Ours", seed, [error] * 2) for seed, error in enumerate((0.5, 2.0, 3.5))]
    assert marked(merge(SPEC, [baseline, *near])) == ["Ours"]
    assert marked(merge(SPEC, [baseline, *far])) == []


def test_results_of_an_older_protocol_are_refused_with_what_changed():
    spec = replace(SPEC, versions=("first", "masks are eroded", "100 toys"))
    old = replace(result("Ours", [0], [1.0]), protocol={"version": 1})
    message = (
        r"row 'Ours' \(runs/x\) was measured by protocol 1 of table 'toy'; expected protocol 3 "
        r"\(masks are eroded; 100 toys\): measure it again"
    )
    with pytest.raises(UserError, match=message):
        merge(spec, [old])
    with pytest.raises(UserError, match="by protocol 1 "):  # before protocols were counted
        merge(spec, [result("Ours", [0], [1.0])])
    with pytest.raises(UserError, match="protocol 4 of table 'toy'; expected protocol 3: "):
        merge(spec, [replace(old, protocol={"version": 4})])
    assert merge(spec, [replace(old, protocol={"version": 3})]).protocol == {"version": 3}


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


def test_rows_from_before_versions_go_with_those_of_the_first() -> None:
    now = replace(result("Baseline", [0], [1.0]), protocol={"image_size": 64, "version": 1})
    assert len(merge(SPEC, [result("Ours", [0], [1.0]), now]).results) == 2


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
