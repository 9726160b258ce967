"""Names from results do nothing where they are shown, whatever the format."""

import csv
import io
import json
import re
from pathlib import Path

import pytest

from gan3d_bench.benchmarks.formats import FORMATS, plain, render
from gan3d_bench.benchmarks.results import Result, save_result
from gan3d_bench.benchmarks.table import merge
from gan3d_bench.errors import LONGEST_LINE, one_line, printable
from gan3d_bench.files import escaping
from gan3d_bench.spec import Column, TableSpec

ESCAPE = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202e\u2028"
EVIL = [
    f"clear {ESCAPE}",
    "=cmd|' /C calc'!A0",
    " @SUM(1)",
    "<img src=x onerror=alert(1)>",
    "![x](http://host/p.png) [y]: z",
    "a\\| b | c\r\nd",
    r"\input{/etc/passwd} $x$ 100%",
    "[red]b[/red] [/]",
]
SPEC = TableSpec("toy", "Toys [/x]", (Column("error", "Error"),), (), "none:None", "All are equal.")


@pytest.fixture
def table():
    def row(name):
        return Result(
            "toy", name, name, name, {"networks": {"error": "[/net]"}, "note": name}, [0],
            {"error": [1.0]},
        )  # fmt: skip

    return [merge(SPEC, [row(name)]) for name in EVIL]


def obeyed(text):
    """Characters of `text` that a terminal obeys or shows as nothing."""
    return [character for line in text.split("\n") for character in line if not line.isprintable()]


@pytest.mark.parametrize("form", [*FORMATS, "rich"])
def test_no_format_holds_what_a_terminal_obeys(table, form):
    for one in table:
        text = plain(one) if form == "rich" else render(one, form)
        assert obeyed(text) == []
    assert "\\u001b" in render(table[0], "json") and "\\u009b" in render(table[0], "json")


def test_json_says_the_same(table):
    for name, one in zip(EVIL, table, strict=True):
        assert json.loads(render(one, "json"))["rows"][0]["row"] == name
    assert json.loads(escaping.json(json.dumps(["\U000e0001\x7f"], ensure_ascii=False))) == [
        "\U000e0001\x7f"
    ]


def test_csv_has_no_formula(table):
    for one in table:
        for row in csv.reader(io.StringIO(render(one, "csv"))):
            assert not any(cell.lstrip().startswith(tuple("=+-@\t\r")) for cell in row)
    below_zero = Result("toy", "-x", "r", "d", {}, [0], {"error": [-1.0]})
    (row,) = csv.DictReader(io.StringIO(render(merge(SPEC, [below_zero]), "csv")))
    assert row["row"] == "'-x" and row["error_mean"] == "-1.0"


def test_markdown_has_no_html_no_link_and_no_cell_of_its_own(table):
    for one in table:
        text = render(one, "markdown")
        assert "<" not in text and not re.search(r"(?<!\\)\][(\[:]", text)
        header, align, row = (line for line in text.splitlines() if line.startswith("|"))
        cells = [line.replace(r"\\", "").replace(r"\|", "") for line in (header, align, row)]
        assert len({line.count("|") for line in cells}) == 1


def test_latex_has_no_command_of_a_name(table):
    text = render(table[6], "latex")
    assert r"\textbackslash{}input\{/etc/passwd\} \$x\$ 100\%" in text


def test_brackets_are_no_markup_in_the_terminal(table):
    text = plain(table[7])
    assert "[red]b[/red] [/]" in text and "Toys [/x]" in text and "[/net]" in text


def test_errors_are_one_line_of_bounded_length(cli):
    save_result(
        Result("toy-depth", "x", f"run {ESCAPE}", "d", {"a": "x" * 9000}, [0], {"error": [1.0]}),
        Path("a.json"),
    )
    save_result(
        Result("toy-depth", "y", "r", "d", {"a": "y" * 9000}, [0], {"error": [1.0]}),
        Path("b.json"),
    )
    refused = cli("compare", "toy-depth", "--results", "a.json", "--results", "b.json")
    assert refused.code == 2
    (line,) = refused.err.splitlines()
    assert obeyed(line) == [] and len(line) <= LONGEST_LINE + len("gan3d-bench: ")
    assert "expected one protocol: measure both again" in line  # the end is kept
    for argument in (ESCAPE, "\udcff", "a\nb", "x" * 100_000):
        refused = cli("eval", "--table", argument)
        assert refused.code == 2 and len(refused.err.splitlines()) == 1
        assert obeyed(refused.err.removesuffix("\n")) == [] and len(refused.err) < 1100


def test_lines_keep_what_is_no_control_character():
    assert one_line(" a\n b\tc ") == "a b c"
    assert printable("Zoë ⁻² 顔 😀") == "Zoë ⁻² 顔 😀"
    assert printable("a\x1b\u202e\udcff") == "a\\x1b\\u202e\\udcff"
