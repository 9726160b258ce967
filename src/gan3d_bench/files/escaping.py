"""Names and notes from results and runs, as each format must hold them: shown, never obeyed.

Anybody may have written a result. What a terminal, a Markdown viewer, TeX or a spreadsheet would
take for a command stands in a table as the characters it is made of. Imports no torch.
"""

from __future__ import annotations

import re

from rich.text import Text

from gan3d_bench.errors import printable

_TEX = {
    "\\": r"\textbackslash{}",
    **{character: f"\\{character}" for character in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "†": r"$^\dagger$",
    "–": "--",
    "×": r"$\times$",
    "°": r"$^\circ$",
}
_RAISED = str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")
_FORMULA = tuple("=+-@＝＋－＠")
"""What begins a formula for a spreadsheet."""


def terminal(text: str) -> Text:
    """Return `text` for rich: without control sequences, and its brackets are no markup."""
    return Text(printable(text))


def markdown(text: str) -> str:
    """Return `text` for Markdown, in a table's cell or outside: no HTML, no link, no bold."""
    escaped = re.sub(r"([\\|*])", r"\\\1", printable(text)).replace("<", "&lt;")
    return re.sub(r"\](?=[(\[:])", r"\\]", escaped)


def latex(text: str) -> str:
    """Return `text` for LaTeX."""
    plain = "".join(_TEX.get(character, character) for character in printable(text))
    return re.sub(r"[⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+", lambda m: f"$^{{{m[0].translate(_RAISED)}}}$", plain)


def comma_separated(text: str) -> str:
    """Return `text` for a cell of CSV; an apostrophe before what would be a formula."""
    shown = printable(text)
    return f"'{shown}" if shown.lstrip().startswith(_FORMULA) else shown


def json(document: str) -> str:
    """Return a whole JSON document in which unprintable characters are escapes; it says the same.

    `document` has no line breaks within its strings, as JSON demands.
    """
    return "\n".join(
        line if line.isprintable() else "".join(map(_escaped, line))
        for line in document.split("\n")
    )


def _escaped(character: str) -> str:
    if character.isprintable():
        return character
    units = character.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[place : place + 4]}" for place in range(0, len(units), 4))
