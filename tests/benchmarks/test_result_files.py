"""Stored results that somebody damaged: one line that names the place, whatever is wrong."""

import copy
import json
import os
import time
from pathlib import Path

import pytest

from gan3d_bench.benchmarks.result_files import read_rows
from gan3d_bench.benchmarks.results import Estimate, Result, load_results
from gan3d_bench.benchmarks.table import merge
from gan3d_bench.errors import UserError
from gan3d_bench.registry import registry
from gan3d_bench.report.curves import curves

SHAPE = registry("tables").get("shape")
PROTOCOL = {"version": SHAPE.version, "image_size": 64, "networks": {"lpips": "alex"}}
ROW = Result(
    "shape", "Ours", "runs/x", "heads", PROTOCOL, [0, 2],
    {"side": [0.5, 1.5]}, {"measured": {"commit": "0123abc"}}, {"fid": Estimate(3.0, 0.5, 2)},
).to_json()  # fmt: skip
HUGE = 10**400


def changed(path, value):
    """`ROW` with `value` at a dotted path."""
    row = copy.deepcopy(ROW)
    *parents, last = path.split(".")
    place = row
    for key in parents:
        place = place[int(key)] if isinstance(place, list) else place[key]
    place[int(last) if isinstance(place, list) else last] = value
    return row


def nested(depth):
    value = 1
    for _ in range(depth):
        value = {"a": value}
    return value


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("values.side.1", float("inf"), "values.side[1]: inf; expected a number from"),
        ("values.side.1", float("nan"), "values.side[1]: nan; expected a number from"),
        ("values.side.1", 1e308, "values.side[1]: 1e+308; expected a number from"),
        ("values.side.1", HUGE, "values.side[1]: inf; expected a number from"),
        ("values.side.1", "0.5", "values.side[1]: '0.5'; expected a number or null"),
        ("values.side.1", True, "values.side[1]: True; expected a number or null"),
        ("values.side", 1, "values.side: 1; expected a list of numbers"),
        ("values.side", [1.0], "values.side: items and values differ in number"),
        ("values", [1], "values: [1]; expected a mapping"),
        ("items", [2, 0], "items: [2, 0]; expected indices of test items, ascending"),
        ("items", [0, 0], "items: [0, 0]; expected indices"),
        ("items", [-1, 0], "items: [-1, 0]; expected indices"),
        ("items", [0, 1.5], "items: [0, 1.5]; expected indices"),
        ("items", [], "items: []; expected indices"),
        ("items", None, "items: nothing; expected indices"),
        ("items", [0, HUGE], "items[1]: inf; expected a number"),
        ("sets.fid", 3.0, "sets.fid: 3.0; expected a mapping"),
        ("sets.fid.mean", None, "sets.fid.mean: nothing; expected a number"),
        ("sets.fid.standard_error", -1, "sets.fid.standard_error: -1; expected a number from 0"),
        ("sets.fid.count", 0, "sets.fid.count: 0; expected a whole number from 1"),
        ("sets.fid.count", HUGE, "sets.fid.count: inf; expected a number from"),
        ("row", 1, "row: 1; expected text"),
        ("row", "", "row: ''; expected 1 to 200 characters"),
        ("row", "x" * 201, "expected 1 to 200 characters"),
        ("run", "x" * 10_001, "expected at most 10000 characters"),
        ("data", "\ud800", "expected whole Unicode characters"),
        ("protocol", "none", "protocol: 'none'; expected a mapping"),
        ("protocol.networks", "alex", "protocol.networks: 'alex'; expected a mapping"),
        ("protocol.networks.lpips", {}, "protocol.networks.lpips: {}; expected a network's name"),
        ("protocol.image_size", HUGE, "protocol.image_size: inf; expected a number"),
        ("provenance", None, "provenance: nothing; expected a mapping"),
        ("provenance.measured", [], "provenance.measured: []; expected a mapping"),
        ("provenance.seed", [0], "provenance.seed: [0]; expected a whole number from 0"),
        ("provenance.seed", -1, "provenance.seed: -1; expected a whole number from 0"),
        ("provenance.config_sha256", {}, "provenance.config_sha256: {}; expected text"),
        ("provenance.more", nested(30), "nested too deeply; expected at most 20 levels"),
        ("provenance.more", nested(500), "nested too deeply"),
    ],
)  # fmt: skip
def test_each_field_is_checked(cli, path, value, expected):
    Path("row.json").write_text(json.dumps(changed(path, value)))
    with pytest.raises(UserError) as caught:
        load_results(Path("row.json"))
    assert str(caught.value).startswith("row.json: not stored results of a table: ")
    assert expected in str(caught.value)
    for command in (["compare", "shape"], ["report"]):
        refused = cli(*command, "--results", "row.json")
        assert refused.code == 2
        assert len(refused.err.splitlines()) == 1 and len(refused.err) < 1100


def test_a_place_in_a_table_names_the_row(tmp_path):
    file = tmp_path / "table.json"
    file.write_text(json.dumps({"results": [ROW, changed("row", None)]}))
    with pytest.raises(UserError, match=r"results\[1\]\.row: nothing; expected text"):
        read_rows(file)
    file.write_text(json.dumps({"results": {"a": ROW}}))
    with pytest.raises(UserError, match=r"results: .*; expected a list of rows"):
        read_rows(file)


def test_files_that_are_too_much_are_refused_before_they_are_parsed(tmp_path):
    bomb = tmp_path / "bomb.json"
    bomb.write_text("[" + "[]," * 200_000 + "[]]")
    deep = tmp_path / "deep.json"
    deep.write_text("[" * 90_000)
    sparse = tmp_path / "sparse.json"
    with sparse.open("wb") as file:
        file.truncate(2**40)
    pipe = tmp_path / "pipe.json"
    os.mkfifo(pipe)
    started = time.monotonic()
    for file, expected in (
        (bomb, "200002 lists and mappings; expected at most 100000"),
        (deep, "not stored results"),
        (sparse, "1099511627776 bytes; expected at most"),
        (pipe, "no regular file"),
        (tmp_path, "no regular file"),
    ):
        with pytest.raises(UserError, match=expected):
            read_rows(file)
    assert time.monotonic() - started < 2


@pytest.mark.parametrize("number", [2.0**64, -(2.0**64), 5e-324, 0, -0.0, 2**64])
def test_every_number_that_is_let_in_can_be_averaged_drawn_and_printed(cli, number):
    row = changed("values.side.0", number)
    row["values"] |= {f"side@yaw={x}": [number, 0.25] for x in (-10, 0, 1e300, "5e-324", "nan")}
    row["sets"]["mad"] = {"mean": number, "standard_error": abs(number), "count": 2}
    Path("row.json").write_text(json.dumps(row))
    shown = cli("compare", "shape", "--results", "row.json")
    assert shown.code == 0, shown.err
    assert cli("report", "--results", "row.json", "--out", "page.html").code == 0
    page = Path("page.html").read_text()
    assert "<svg" in page and 'cx="nan"' not in page and 'cy="nan"' not in page


def test_what_is_infinite_counts_as_not_compared(tmp_path):
    values = {"side": [0.5, float("inf")]}
    row = Result("shape", "Ours", "x", "heads", PROTOCOL, [0, 1], values)
    stored = json.loads(json.dumps(row.to_json(), allow_nan=False))
    assert stored["values"]["side"] == [0.5, None]
    for result in (row, Result.from_json(stored)):
        (line,) = (line for line in merge(SHAPE, [result]).lines if line.row == "Ours")
        assert line.note == "1 of 2 items could not be compared"
        assert line.cells["side"].measured is None
        assert curves(merge(SHAPE, [result])) == []


def test_a_run_that_cannot_be_is_no_folder(cli):
    for run in ("n" * 5000, "a\0b", "/" + "x/" * 3000, "~root/../.."):
        Path("row.json").write_text(json.dumps(changed("run", run)))
        made = cli("report", "--results", "row.json", "--out", "page.html")
        assert made.code == 0, made.err
