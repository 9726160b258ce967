"""`compare`: stored rows side by side, nothing measured; whose rows, and what is refused."""

import csv
import io
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from gan3d_bench.benchmarks import stored
from gan3d_bench.benchmarks.results import Result, save_result
from gan3d_bench.benchmarks.stored import Stored, assemble, row_path
from gan3d_bench.files.run_folder import Run, write_json
from gan3d_bench.registry import registry
from gan3d_bench.spec import Column, Reported, TableSpec

PROTOCOL = {"data": "discs, test", "image_size": 8}


def row(name, run, values=(0.5, 0.25), **changes):
    result = Result(
        "toy-depth", name, run, "discs, test", PROTOCOL, list(range(len(values))),
        {"error": list(values)},
    )  # fmt: skip
    return replace(result, **changes)


def a_run(name, *results, finished=True, method="toy"):
    folder = Path("runs") / method / "check" / name
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(f"method: {method}\npreset: check\n")
    if finished:
        write_json(folder / "finished.json", {})
    for result in results:
        result = replace(result, run=str(folder))
        save_result(result, row_path(folder / "tables", result.table, result.row))
    return folder


def a_baseline(values=(1.0, 1.0)):
    result = row("Depth one", "baseline", values)
    save_result(result, row_path(Path("runs/tables"), "toy-depth", "Depth one"))


def numbers(text):
    return {line["row"]: line["error_mean"] for line in csv.DictReader(io.StringIO(text))}


def test_latest_finished_runs_and_baselines(cli):
    a_run("2026-01-01_00-00-00", row("Toy", "", (9.0, 9.0)))
    kept = a_run("2026-01-02_00-00-00", row("Toy", ""))
    a_run("2026-01-03_00-00-00", row("Toy", "", (7.0, 7.0)), finished=False)
    a_baseline()
    shown = cli("compare", "toy-depth")
    assert shown.code == 0, shown.err
    assert "0.375 ± 0.125" in shown.out and "1.000 ± 0.000" in shown.out and "0.000†" in shown.out
    assert {path.name for path in Path("runs/tables").glob("toy-depth.??*")} >= {
        "toy-depth.md", "toy-depth.tex", "toy-depth.csv", "toy-depth.json",
    }  # fmt: skip
    table = json.loads(Path("runs/tables/toy-depth.json").read_text())
    assert [line["run"] for line in table["rows"]] == ["baseline", str(kept)]


def test_a_newer_run_that_was_not_measured_is_named(cli):
    a_run("2026-01-01_00-00-00", row("Toy", ""))
    newer = a_run("2026-01-02_00-00-00")
    shown = cli("compare", "toy-depth", "--format", "csv")
    assert shown.code == 0
    assert shown.err.splitlines() == [
        f"not measured: {newer}; gan3d-bench eval --table toy-depth --run {newer}",
        "tables: runs/tables",
    ]
    assert numbers(shown.out) == {"Depth one": "", "Toy": "0.375"}


def test_named_runs_and_files_are_taken_as_they_are(cli):
    first = a_run("2026-01-01_00-00-00", row("Toy", "", (9.0, 9.0)), finished=False)
    a_run("2026-01-02_00-00-00", row("Toy", ""))
    a_baseline()
    shown = cli("compare", "toy-depth", "--run", first, "--format", "csv", "--out", "out")
    assert numbers(shown.out) == {"Depth one": "1.0", "Toy": "9.0"}
    # the table's own JSON gives the table again; runs and baselines here do not join it
    a_baseline((5.0, 5.0))
    again = cli("compare", "toy-depth", "--results", "out/toy-depth.json", "--format", "csv")
    assert again.out == shown.out == Path("out/toy-depth.csv").read_text()
    assert again.out == Path("runs/tables/toy-depth.csv").read_text()
    # beside a run whose rows it has already
    both = cli("compare", "toy-depth", "--run", first, "--results", "out/toy-depth.json",
               "--format", "csv")  # fmt: skip
    assert both.code == 0 and both.out.count("\nToy,") == 1 and both.out.count("\nDepth one,") == 1


@pytest.mark.parametrize("form", ["markdown", "latex", "csv", "json"])
def test_standard_output_is_the_table_alone(cli, form):
    a_run("2026-01-01_00-00-00", row("Toy", ""))
    shown = cli("compare", "toy-depth", "--format", form)
    suffix = {"markdown": "md", "latex": "tex"}.get(form, form)
    assert shown.out == Path(f"runs/tables/toy-depth.{suffix}").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["toy-dept"], "unknown table 'toy-dept' (did you mean 'toy-depth'?)"),
        (["shape"], "no stored rows under runs or in results; expected those made by: gan3d"),
        (["toy-depth", "--format", "latx"], "unknown format 'latx' (did you mean 'latex'?)"),
        (["toy-depth", "--run", "nowhere"], "nowhere: not a run folder"),
        (["toy-depth", "--run", "runs/toy/check/b"],
         "no stored rows of table 'toy-depth'; expected those made by: "
         "gan3d-bench eval --table toy-depth --run runs/toy/check/b"),
        (["toy-depth", "--results", "none.json"], "--results none.json: no such file"),
        (["toy-depth", "--results", "damaged.json"], "damaged.json: not stored results"),
        (["shape", "--results", "row.json"], "holds rows of table 'toy-depth'; expected 'shape'"),
        (["toy-depth", "--results", "row.json", "--results", "large.json"], "image_size=64"),
        (["toy-depth", "--results", "row.json", "--results", "others.json"], "no test item is"),
        (["toy-depth", "--out", "row.json/x"], "row.json is a file"),
        (["toy-depth", "--out", "a", "--out", "b"], "--out is given 2 times"),
    ],
)  # fmt: skip
def test_mistakes_are_one_line_and_write_nothing(cli, arguments, message):
    a_run("a", row("Toy", ""))
    a_run("b", finished=False)
    Path("damaged.json").write_text('{"results": [1')
    save_result(row("Toy", "here"), Path("row.json"))
    save_result(row("Toy", "x", protocol={**PROTOCOL, "image_size": 64}), Path("large.json"))
    save_result(row("Toy", "y", items=[8, 9]), Path("others.json"))
    before = set(Path().rglob("*"))
    refused = cli("compare", *arguments)
    assert refused.code == 2
    assert message in refused.err
    assert len(refused.err.strip().splitlines()) == 1
    assert set(Path().rglob("*")) == before


def test_a_table_nobody_can_measure_yet_shows_the_papers_numbers(cli, monkeypatch):
    spec = TableSpec(
        "later", "Later", (Column("fid", "FID", digits=1),), ("Theirs", "Ours"), "",
        "Needs what is not here.", (Reported("later", "Theirs", "fid", 12.5, "Paper, Table 2"),),
    )  # fmt: skip
    monkeypatch.setitem(registry("tables").specs, "later", spec)
    shown = cli("compare", "later", "--format", "markdown")
    assert shown.code == 0, shown.err
    assert "| Theirs | – | 12.5† |  |  | not measured yet |" in shown.out
    assert "| Ours | – |  |  |  | not measured yet |" in shown.out
    refused = cli("eval", "--table", "later")
    assert refused.code == 2 and "cannot be measured yet: Needs what is not here." in refused.err


def test_rows_of_one_table_do_not_pass_for_another_s(toy):
    save_result(row("Toy", "x"), row_path(Path("t"), "toy-depth", "Toy"))
    assert stored.rows_in(Path("t"), "toy-depth") == [row("Toy", "x")]
    assert stored.rows_in(Path("t"), "toy") == stored.rows_in(Path("t"), "depth") == []


def test_both_methods_of_a_row_are_kept(toy):
    for method in ("toy", "other"):
        a_run("2026-01-01_00-00-00", row("Toy", ""), method=method)
    found = Stored((), (), Path("runs")).rows("toy-depth")
    assert sorted(result.run for result in found) == [
        "runs/other/check/2026-01-01_00-00-00", "runs/toy/check/2026-01-01_00-00-00",
    ]  # fmt: skip
    assert len(assemble(registry("tables").get("toy-depth"), found).lines) == 3


def test_eval_latest_and_fresh(cli):
    assert cli("fit", "--method", "toy", "--preset", "check", "trainer.accelerator=cpu").code == 0
    (run,) = Run.find("toy")
    assert cli("eval", "--table", "toy-depth", "--samples", 2, "--latest").code == 0
    files = [*run.tables.glob("*.row.json"), *Path("runs/tables").glob("*.row.json")]
    assert len(files) == 2
    for file in files:  # stale numbers are kept until measured afresh, where they are kept at all
        content = json.loads(file.read_text())
        content["values"] = {"error": [123.0, 123.0]}
        file.write_text(json.dumps(content))
    fresh = cli("eval", "--table", "toy-depth", "--samples", 2, "--latest", "--fresh")
    assert fresh.code == 0 and "123" not in fresh.out
    compared = cli("compare", "toy-depth", "--format", "json", "--run", run.path)
    rows = {line["row"]: line for line in json.loads(compared.out)["rows"]}
    assert rows["Toy"]["error"]["measured"]["mean"] < 100


def test_the_latest_run_brings_those_that_differ_in_the_seed_alone(cli):
    def seeded(name, seed, values, setup="a"):
        provenance = {"seed": seed, "setup_sha256": setup}
        a_run(name, row("Toy", "", values, provenance=provenance))

    seeded("2026-01-01_00-00-00", 0, (8.0, 8.0), "other")
    seeded("2026-01-02_00-00-00", 1, (9.0, 9.0))
    seeded("2026-01-03_00-00-00", 0, (1.0, 2.0))
    seeded("2026-01-04_00-00-00", 1, (2.0, 3.0))
    shown = cli("compare", "toy-depth")
    assert shown.code == 0, shown.err
    assert "2.000 ± 0.500 (0.707)" in shown.out


def test_rows_of_an_older_protocol_are_left_out_and_named(cli, monkeypatch):
    spec = replace(registry("tables").get("toy-depth"), versions=("first", "larger discs"))
    monkeypatch.setitem(registry("tables").specs, "toy-depth", spec)
    a_run("2026-01-01_00-00-00", row("Toy", ""))
    a_baseline()
    now = {**PROTOCOL, "version": 2}
    kept = a_run("2026-01-02_00-00-00", row("Toy", "", protocol=now))
    shown = cli("compare", "toy-depth")
    assert shown.code == 0, shown.err
    assert "0.375 ± 0.125" in shown.out
    assert "left out: row 'Depth one' (baseline) was measured by protocol 1" in shown.err
    assert "(larger discs): measure it again" in shown.err
    old = Path("runs/toy/check/2026-01-01_00-00-00")
    refused = cli("compare", "toy-depth", "--run", old, "--run", kept)
    assert refused.code == 2
    assert "by protocol 1 of table 'toy-depth'; expected protocol 2 (larger discs)" in refused.err


def test_comparing_imports_no_torch(toy):
    save_result(row("Toy", "x"), Path("row.json"))
    code = (
        "import sys; from gan3d_bench.cli import run; "
        "run(['compare', 'toy-depth', '--results', 'row.json']); "
        "run(['report', '--results', 'row.json']); sys.exit('torch' in sys.modules)"
    )
    path = {"PYTHONPATH": os.pathsep.join([sys.path[0], os.environ.get("PYTHONPATH", "")])}
    assert subprocess.run([sys.executable, "-c", code], env=path).returncode == 0
