"""Golden output of each format, from one small table."""

import csv
import io
import json
import re
import subprocess
import sys
from dataclasses import replace

import pytest

from gan3d_bench.benchmarks.formats import FORMATS, fixed, plain, render, write_table
from gan3d_bench.benchmarks.results import Result
from gan3d_bench.benchmarks.table import merge
from gan3d_bench.errors import UserError
from gan3d_bench.spec import Column, Reported, TableSpec

SPEC = TableSpec(
    name="toy",
    title="Toys & games",
    columns=(Column("error", "Error", unit="×10⁻²", digits=2),),
    rows=("Baseline", "Ours_100%", "Theirs | old"),
    measure="none:None",
    protocol="All toys are equal.",
    reported=(
        Reported("toy", "Baseline", "error", 2.5, "Paper, Table 1"),
        Reported("toy", "Theirs | old", "error", 0.25, "Paper, Table 1"),
    ),
)

BOLD = (
    "Bold: the best mean, where it leads every other measured row by two standard errors of the "
    "difference on the same items."
)


@pytest.fixture
def table():
    def row(name, run, values):
        data = {"error": values}
        return Result("toy", name, run, "toys, test", {"size": 64}, [0, 1], data)

    return merge(
        SPEC,
        [row("Baseline", "baseline", [2.0, 3.0]), row("Ours_100%", "runs/ours", [1.0, 1.5])],
        reasons={"Theirs | old": "reported only"},
    )


def test_markdown(table):
    assert render(table, "markdown") == (
        "**Toys & games**\n\n"
        "| Row | Error (×10⁻²) ↓ | Error reported | Data | N | Run |\n"
        "| :-- | --: | --: | :-- | --: | :-- |\n"
        "| Baseline | 2.50 ± 0.50 | 2.50† | toys, test | 2 | baseline |\n"
        "| Ours_100% | **1.25 ± 0.25** |  | toys, test | 2 | runs/ours |\n"
        "| Theirs \\| old | – | 0.25† |  |  | reported only |\n\n"
        f"Measured: mean ± standard error over N test items. {BOLD}\n\n"
        "† reported, not measured here: Paper, Table 1.\n\n"
        "– not measured; the last column says why.\n\n"
        "All toys are equal.\n\n"
        "Measured with size: 64.\n"
    )


def test_latex(table):
    assert render(table, "latex") == (
        "% needs \\usepackage{booktabs}\n"
        "\\begin{table}\n"
        "\\centering\n"
        "\\caption{Toys \\& games. Measured: mean $\\pm$ standard error over N test items. "
        f"{BOLD} $^\\dagger$ reported, not measured here: Paper, Table 1. "
        "-- not measured.}\n"
        "\\label{tab:toy}\n"
        "\\begin{tabular}{lrrr}\n"
        "\\toprule\n"
        "Row & Error ($\\times$10$^{-2}$) $\\downarrow$ & Error reported & N \\\\\n"
        "\\midrule\n"
        "Baseline & 2.50 $\\pm$ 0.50 & 2.50$^\\dagger$ & 2 \\\\\n"
        "Ours\\_100\\% & \\textbf{1.25 $\\pm$ 0.25} &  & 2 \\\\\n"
        "Theirs | old & -- & 0.25$^\\dagger$ &  \\\\\n"
        "\\bottomrule\n"
        "\\end{tabular}\n"
        "\\end{table}\n"
    )


def test_csv_has_full_precision_and_sources(table):
    rows = list(csv.DictReader(io.StringIO(render(table, "csv"))))
    assert rows[0] == {
        "row": "Baseline",
        "data": "toys, test",
        "items": "2",
        "run": "baseline",
        "note": "",
        "error_mean": "2.5",
        "error_standard_error": "0.5",
        "error_between_seeds": "",
        "error_reported": "2.5",
        "error_source": "Paper, Table 1",
    }
    assert rows[2]["error_mean"] == ""
    assert rows[2]["note"] == "reported only"


def test_json_can_be_put_beside_new_rows(table, tmp_path):
    from gan3d_bench.benchmarks.results import load_results

    content = json.loads(render(table, "json"))
    assert content["rows"][1]["error"] == {
        "measured": {"mean": 1.25, "standard_error": 0.25, "count": 2},
        "between_seeds": None,
        "reported": None,
        "source": None,
        "reported_count": None,
    }
    assert content["protocol"] == {"description": "All toys are equal.", "size": 64}
    paths = write_table(table, tmp_path)
    assert {path.name for path in paths} == {"toy.md", "toy.tex", "toy.csv", "toy.json"}
    again = merge(
        SPEC, load_results(tmp_path / "toy.json"), reasons={"Theirs | old": "reported only"}
    )
    assert render(again, "markdown") == render(table, "markdown")


def test_terminal(table):
    lines = plain(table, width=100).splitlines()
    assert any("Ours_100%" in line and "1.25 ± 0.25" in line for line in lines)
    assert any("Theirs | old" in line and "0.25†" in line and "–" in line for line in lines)


def test_many_metrics_fit_80_columns():
    columns = tuple(Column(f"m{i}", f"Metric {i}, less own", unit="×10⁻²") for i in range(7))
    values = {column.metric: [-0.2, 0.1] for column in columns}
    spec = replace(SPEC, columns=columns, reported=(
        Reported("toy", "Baseline", "m0", 2.5, "Paper, Table 1", count=500),
    ))  # fmt: skip
    row = Result("toy", "Baseline", "baseline", "toys", {}, [0, 1], values)
    lines = plain(merge(spec, [row]), width=80).splitlines()
    assert not any("…" in line for line in lines)
    assert max(map(len, lines)) <= 80
    assert sum(line.count("-0.050±0.150") for line in lines) == 7
    assert "(500†)" in "".join(lines)


def test_unknown_format_names_the_nearest(table):
    with pytest.raises(UserError, match="unknown format 'latx' \\(did you mean 'latex'"):
        render(table, "latx")
    assert set(FORMATS) == {"markdown", "latex", "csv", "json"}


def test_one_item_has_no_standard_error():
    single = Result("toy", "Baseline", "baseline", "toys", {}, [0], {"error": [2.0]})
    assert "| Baseline | 2.00 | 2.50† |" in render(merge(SPEC, [single]), "markdown")


def test_seeds_papers_n_bounds_and_differences_are_explained():
    spec = replace(
        SPEC,
        columns=(*SPEC.columns, Column("lead", "Lead", difference=True)),
        bounds=("Baseline",),
        reported=(Reported("toy", "Ours", "error", 2.5, "Paper, Table 1", count=500),),
    )

    def run(seed: int, errors: list[float]) -> Result:
        provenance = {"seed": seed, "setup_sha256": "a"}
        return Result("toy", "Ours", f"r{seed}", "toys", {}, [0, 1], {"error": errors}, provenance)

    text = render(merge(spec, [run(0, [1.0, 2.0]), run(1, [2.0, 3.0])]), "markdown")
    assert "| Ours | 2.00 ± 0.50 (0.71) | 2.50† | – | toys | 2 (500†) | r0; r1 |" in text
    assert (
        "over N test items, of 2 runs with different seeds where the standard deviation between "
        "them follows in brackets. Bold: "
    ) in text
    assert "Bold differences are two standard errors above zero." in text
    assert "Bounds, never bold: Baseline." in text
    assert "† reported, not measured here: Paper, Table 1, N = 500." in text


def test_what_rounds_to_zero_has_no_sign():
    single = Result("toy", "Baseline", "baseline", "toys", {}, [0, 1], {"error": [-1e-4, -2e-4]})
    spec = replace(SPEC, reported=(Reported("toy", "Baseline", "error", -0.001, "Paper"),))
    table = merge(spec, [single])
    for form in FORMATS:
        assert not re.search(r"(?<![\de])-0\.?0*\b(?!\.?\d)", render(table, form)), form
    assert "-0.00" not in plain(table) and "0.00" in plain(table)
    assert [fixed(value, 1) for value in (-0.04, -0.0, 0.04, -0.06, float("nan"))] == [
        "0.0", "0.0", "0.0", "-0.1", "nan",
    ]  # fmt: skip


def test_tables_are_read_and_printed_without_torch():
    code = (
        "import sys; import gan3d_bench.benchmarks.formats, gan3d_bench.benchmarks.shape.spec; "
        "import gan3d_bench.datamodules.specs; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
