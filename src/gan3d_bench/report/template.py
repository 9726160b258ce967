"""HTML pages that need no other file and no network, and that other people's text cannot change.

Values are escaped, and a page's content security policy admits its own script and style alone, so
that nothing in them runs or is fetched.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

import jinja2
from markupsafe import Markup

from gan3d_bench import __version__


def fill(template: str, styles: Sequence[str], script: str, **values: Any) -> str:
    """Return a page.

    Args:
        template: Jinja file of this package.
        styles, script: files of this package, which stand in the page.
        values: of the template.
    """
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    style, code = "".join(map(_own, styles)), _own(script)
    return environment.from_string(_own(template)).render(
        version=__version__,
        style=Markup(style),
        script=Markup(code),
        style_hash=_hash(style),
        script_hash=_hash(code),
        **values,
    )


def _own(name: str) -> str:
    """Return a file of this package."""
    return files("gan3d_bench.report").joinpath(name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    """Return what a content security policy calls an inline script or style."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
