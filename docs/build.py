"""Build the site: every Markdown page of this folder, and of ``facts``, as HTML in ``build/site``.

    python docs/build.py

Fails, naming page and link, if a page links to something that does not exist. The converter is
markdown-it, which the suite has by way of rich.
"""

from __future__ import annotations

import html
import re
import shutil
import sys
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

DOCS = Path(__file__).parent
SITE = DOCS.parent / "build" / "site"
FIRST = ("index", "quickstart")
TEMPLATE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title} - gan3d-bench</title>
<style>
body {{ max-width: 56rem; margin: 0 auto; padding: 1rem 1.5rem 4rem;
  font: 16px/1.55 system-ui, sans-serif; color: #1c1c1c; background: #fff; }}
nav {{ border-bottom: 1px solid #ddd; padding-bottom: .6rem; }}
nav a {{ margin-right: 1.2rem; }}
a {{ color: #7a1f6a; }}
img, video {{ max-width: 100%; }}
pre {{ background: #f6f5f7; padding: .8rem 1rem; overflow-x: auto; }}
code {{ font: .9em ui-monospace, monospace; }}
table {{ border-collapse: collapse; display: block; overflow-x: auto; }}
th, td {{ border-bottom: 1px solid #ddd; padding: .35rem .8rem .35rem 0; text-align: left;
  vertical-align: top; }}
</style>
<nav>{navigation}</nav>
{body}
</html>
"""


def main() -> int:
    """Build the site; return the exit code."""
    sources = sorted(DOCS.rglob("*.md"), key=_order)
    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    parsed = {source: parser.parse(_without_comments(source)) for source in sources}
    broken = [
        f"{source.relative_to(DOCS)}: '{target}' does not exist"
        for source, tokens in parsed.items()
        for target in _links(tokens)
        if not (source.parent / target).exists()
    ]
    if broken:
        print("\n".join(broken), file=sys.stderr)
        return 1
    titles = {source: _title(tokens) for source, tokens in parsed.items()}
    shutil.rmtree(SITE, ignore_errors=True)
    SITE.mkdir(parents=True)
    shutil.copytree(DOCS / "figures", SITE / "figures", ignore=shutil.ignore_patterns("*.py"))
    for source, tokens in parsed.items():
        body = parser.renderer.render(tokens, parser.options, {})
        body = re.sub(r'href="([\w./-]+)\.md(#[\w-]*)?"', r'href="\1.html\2"', body)
        up = "../" * (len(source.relative_to(DOCS).parts) - 1)
        navigation = "".join(
            f'<a href="{up}{page.stem}.html">{html.escape(title)}</a>'
            for page, title in titles.items()
            if page.parent == DOCS
        )
        page = SITE / source.relative_to(DOCS).with_suffix(".html")
        page.parent.mkdir(exist_ok=True)
        page.write_text(
            TEMPLATE.format(title=html.escape(titles[source]), navigation=navigation, body=body)
        )
    print(f"{len(sources)} pages: {SITE / 'index.html'}")
    return 0


def _order(source: Path) -> tuple[int, str]:
    place = FIRST.index(source.stem) if source.stem in FIRST else len(FIRST)
    return place, str(source.relative_to(DOCS))


def _without_comments(source: Path) -> str:
    """The page without the marks that tables are printed between."""
    return re.sub(r"<!--.*?-->\n?", "", source.read_text(), flags=re.DOTALL)


def _links(tokens: list[Token]) -> list[str]:
    """Targets of links and images within this folder, without anchors."""
    found: list[str] = []
    for token in tokens:
        target = str(token.attrs.get("href") or token.attrs.get("src") or "").partition("#")[0]
        if target and "://" not in target and not target.startswith("mailto:"):
            found.append(target)
        found += _links(token.children or [])
    return found


def _title(tokens: list[Token]) -> str:
    heading = next(i for i, token in enumerate(tokens) if token.tag == "h1")
    return tokens[heading + 1].content


if __name__ == "__main__":
    sys.exit(main())
