"""What docs and source files point to is there, and inside the project."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

ROOT = Path(__file__).parents[1]
FOLDERS = ("src", "tests", "tools", "perf", "docs")
SUFFIXES = {".py", ".md", ".json", ".yaml", ".toml"}
# papers and released files are cited by name; what neither says is a page of docs/facts
OUTSIDE = re.compile(
    r"(?<!\w)\(facts?[,:] "
    r"|\bfacts?,? (of )?(gan2shape|liftedgan|uv3dmm|wtri|stylegan|mobilestylegan|section|\d)"
    r"|\bshared/(facts|papers|parity|design|tools)",
    re.IGNORECASE,
)
PAGE = re.compile(r"\b(?:docs/)?facts/[\w-]+\.md\b")


def texts() -> Iterator[tuple[Path, str]]:
    top = [path for path in ROOT.iterdir() if path.suffix in SUFFIXES]
    inside = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*")]
    for path in (*top, *inside):
        if path.suffix in SUFFIXES and path != Path(__file__):
            yield path, path.read_text()


def test_nothing_points_outside_the_project() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path, text in texts()
        for number, line in enumerate(text.splitlines(), 1)
        if OUTSIDE.search(line) or str(ROOT) in line  # where this checkout lies
    ]
    assert not found, "\n".join(found)


def test_cited_pages_of_facts_are_there() -> None:
    cited = {(path, page) for path, text in texts() for page in PAGE.findall(text)}
    assert cited
    missing = [
        f"{path.relative_to(ROOT)}: {page}"
        for path, page in cited
        if not (ROOT / page).is_file() and not (path.parent / page).is_file()
    ]
    assert not missing, "\n".join(missing)


@pytest.mark.parametrize(
    "text",
    ["(facts liftedgan, section 2)", "Facts, section 5: a", "(facts: seen)", "see shared/parity/x"],
)
def test_pointers_outside_are_recognised(text: str) -> None:
    assert OUTSIDE.search(text)


@pytest.mark.parametrize("text", ["(facts or {})", "str(facts[key])", "the card's facts"])
def test_english_is_not_a_citation(text: str) -> None:
    assert not OUTSIDE.search(text)


def test_torchrun_hands_on_the_commands_of_the_docs() -> None:
    from torch.distributed.run import parse_args

    text = "".join(page.read_text() for page in sorted((ROOT / "docs").glob("*.md")))
    commands = re.findall(r"^torchrun (.* -- )(gan3d_bench .*)$", text, re.M)
    assert commands
    for own, ours in commands:
        parsed = parse_args([*own.split(), *ours.split()])
        assert [parsed.training_script, *parsed.training_script_args] == ours.split()


def pictures() -> Iterator[Any]:
    for folder in ("docs", "results", "src", "tests"):
        for path in sorted((ROOT / folder).rglob("*.png")):
            yield pytest.param(path, id=path.relative_to(ROOT).as_posix())


@pytest.mark.parametrize("path", list(pictures()))
def test_pictures_are_in_true_colour(path: Path) -> None:
    """A palette turns normals and depth into steps."""
    with Image.open(path) as picture:
        assert picture.mode != "P"


def test_the_site_is_built_and_its_links_lead_somewhere(tmp_path, monkeypatch) -> None:
    specification = importlib.util.spec_from_file_location("docs_build", ROOT / "docs" / "build.py")
    assert specification is not None and specification.loader is not None
    build = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(build)
    monkeypatch.setattr(build, "SITE", tmp_path / "site")
    assert build.main() == 0
    pages = list(build.SITE.rglob("*.html"))
    assert len(pages) == len(list((ROOT / "docs").rglob("*.md")))
    for page in pages:
        for target in re.findall(r'(?:href|src)="([^":#]+)', page.read_text()):
            # what is not of the site lies in the repository, beside the page's source
            source = ROOT / "docs" / page.relative_to(build.SITE).parent / target
            assert (page.parent / target).exists() or source.exists(), f"{page.name}: {target}"
