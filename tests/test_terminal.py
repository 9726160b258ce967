"""What the commands say is text, whatever it is made of."""

from __future__ import annotations

from io import StringIO

import pytest

from gan3d_bench.terminal import say


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("runs/a\x1b[2J.png", "runs/a\\x1b[2J.png"),
        ("title\x07\r\x9b", "title\\x07\\r\\x9b"),
        ("two\nlines, and ü", "two\nlines, and ü"),
        ("right to left \u202e", "right to left \\u202e"),
    ],
)
def test_what_a_terminal_obeys_is_shown(text: str, shown: str) -> None:
    file = StringIO()
    say(text, file=file)
    assert file.getvalue() == f"{shown}\n"
