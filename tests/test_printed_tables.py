"""The tables in README.md, docs/ and results/ are those that the stored results give."""

import shutil
from pathlib import Path

import pytest
import readme_tables as tool

ROOT = Path(__file__).parents[1]


@pytest.fixture
def copy(tmp_path):
    """A folder with the repository's README, results and one page."""
    shutil.copy(ROOT / "README.md", tmp_path)
    shutil.copytree(ROOT / "results", tmp_path / "results")
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "page.md").write_text("# Page\n")
    return tmp_path


def test_nothing_is_stale(capsys):
    assert tool.main(["--check"]) == 0, capsys.readouterr().out
    assert "<!-- table: shape -->" in (ROOT / "README.md").read_text()


def test_a_changed_number_is_stale_until_printed(copy, capsys):
    readme = copy / "README.md"
    printed = readme.read_text()
    readme.write_text(printed.replace("2.723†", "0.723†", 1))
    (copy / "results" / "shape.tex").unlink()
    (copy / "docs" / "page.md").write_text("# Page\n<!-- table: shape -->\n<!-- /table -->\nend\n")
    assert printed != readme.read_text()
    assert tool.main(["--check"], copy) == 1
    stale = capsys.readouterr().out.splitlines()
    assert stale == ["stale: results/shape.tex", "stale: README.md", "stale: docs/page.md"]
    assert tool.main([], copy) == 0
    assert readme.read_text() == printed
    page = (copy / "docs" / "page.md").read_text()
    assert "| Constant depth |" in page and page.endswith("<!-- /table -->\nend\n")
    assert tool.main(["--check"], copy) == 0


def test_tables_in_folders(copy, capsys):
    """What is beside the standard tables is printed as they are; measurements are no tables."""
    folder = copy / "results" / "others"
    folder.mkdir()
    shutil.copy(copy / "results" / "shape.json", folder)
    page = copy / "docs" / "page.md"
    page.write_text("<!-- table: others/shape -->\n<!-- /table -->\n")
    assert tool.main([], copy) == 0
    assert (folder / "shape.tex").read_text() == (copy / "results" / "shape.tex").read_text()
    assert "| Constant depth |" in page.read_text()
    assert not list((copy / "results" / "measurements").glob("*.tex"))


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ("<!-- table: shap -->\n<!-- /table -->", "did you mean 'shape'"),
        ("<!-- table: relight -->\n<!-- /table -->", "results/relight.json"),
        ("<!-- table: shape -->\n", "docs/page.md: expected each"),
    ],
)
def test_mistakes_in_a_page(copy, capsys, block, message):
    shutil.rmtree(copy / "results")
    shutil.copytree(ROOT / "results", copy / "results")
    (copy / "results" / "relight.json").unlink(missing_ok=True)
    (copy / "docs" / "page.md").write_text(block)
    assert tool.main(["--check"], copy) == 2
    assert message in capsys.readouterr().err
