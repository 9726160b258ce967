"""What ``gan3d-bench assets list|fetch|where|verify`` print."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.padding import Padding
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Table
from rich.text import Text

from gan3d_bench.assets.manifest import bundled_manifest
from gan3d_bench.assets.registry import Asset, BundledAsset, PackagedAsset, get_asset, registry
from gan3d_bench.assets.store import asset_path, is_present, location, status
from gan3d_bench.errors import UserError, one_line, printable
from gan3d_bench.terminal import say


def list_assets(console: Console | None = None) -> None:
    """Print every asset: whether it is here, size, source; below, what it unlocks and its licence.

    Presence is judged by size; :func:`verify_assets` reads the contents.
    """
    console = console or Console()
    assets = registry().assets
    widest = max(map(len, assets))
    for asset in assets.values():
        here = "here   " if is_present(asset.name) else "missing"
        size = f"{_megabytes(asset):>5} MB" if _megabytes(asset) else " " * 8
        head = f"{asset.name:{widest}}  {here}  {size}  {_source(asset)}"
        console.print(Text(printable(head)), soft_wrap=True)
        for text in (f"unlocks: {asset.unlocks}", f"licence: {_licence(asset)}"):
            console.print(Padding(Text(printable(text)), (0, 0, 0, 4), expand=False))
    for name, reason in registry().broken.items():
        console.print(Text(one_line(f"plug-in asset {name} is left out: {reason}")))
    missing = [name for name in registry().assets if not is_present(name) and _packaged(name)]
    if missing:
        console.print(f"get the missing: gan3d-bench assets fetch {' '.join(missing)}")


def fetch_assets(
    names: Sequence[str], folder: Path | None = None, console: Console | None = None
) -> None:
    """Fetch the named assets (all packaged ones without names), with a progress bar.

    The licence of one that excludes commercial use is printed before any byte of it is asked for.

    Args:
        names: of assets.
        folder: of distribution files that were downloaded elsewhere; then no index is asked.
        console: where to print.

    Raises:
        UserError: see :func:`gan3d_bench.assets.fetch.fetch`; unknown names fail before any work.
    """
    from gan3d_bench.assets.fetch import fetch

    assets = [get_asset(name) for name in names] or [
        asset for asset in registry().assets.values() if _packaged(asset.name)
    ]
    console = console or Console()
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    for asset in assets:
        if not asset.commercial:
            console.print(f"{asset.name}: {_licence(asset)}", soft_wrap=True, markup=False)
        with Progress(
            *columns, console=console, transient=True, disable=not console.is_terminal
        ) as bar:
            task = bar.add_task(asset.name, total=None)
            path = fetch(
                asset.name,
                lambda done, total, bar=bar, task=task: bar.update(
                    task, completed=done, total=total
                ),
                folder,
            )
        console.print(f"{asset.name}: {path}", soft_wrap=True, markup=False)
        if asset.commercial:
            console.print(f"  licence: {asset.licence}", soft_wrap=True, markup=False)


def show_path(name: str) -> None:
    """Print where the asset lies, checked, for use in scripts.

    Raises:
        UserError: unknown name; missing (with the command that gets it); damaged.
    """
    say(asset_path(name))


def verify_assets(names: Sequence[str], console: Console | None = None) -> None:
    """Print whether each named asset (all without names) agrees with its pinned SHA-256.

    Raises:
        UserError: unknown name; after the table, if one is damaged, or a named one is missing.
    """
    assets = [get_asset(name) for name in names] or list(registry().assets.values())
    states = {asset.name: status(asset.name) for asset in assets}
    table = Table("asset", "state")
    table.add_column("path", overflow="fold")
    for asset in assets:
        table.add_row(asset.name, states[asset.name], str(location(asset)))
    (console or Console()).print(table)
    bad = {"damaged", "missing"} if names else {"damaged"}
    wrong = [name for name, state in states.items() if state in bad]
    if wrong:
        fetchable = [name for name in wrong if _packaged(name)]
        cure = f"; run: gan3d-bench assets fetch {' '.join(fetchable)}" if fetchable else ""
        raise UserError(f"not as pinned: {', '.join(f'{n} ({states[n]})' for n in wrong)}{cure}")


def _packaged(name: str) -> bool:
    return isinstance(get_asset(name), PackagedAsset)


def _licence(asset: Asset) -> str:
    return asset.licence if asset.commercial else f"NON-COMMERCIAL: {asset.licence}"


def _source(asset: Asset) -> str:
    if isinstance(asset, PackagedAsset):
        return f"{asset.archive.distribution}=={asset.archive.version}"
    return "bundled"


def _megabytes(asset: Asset) -> str:
    if isinstance(asset, PackagedAsset):
        return f"{asset.size / 1e6:.1f}"
    assert isinstance(asset, BundledAsset)
    sizes = [int(bundled_manifest().get(file, {}).get("size", 0)) for file in asset.files]
    return f"{sum(sizes) / 1e6:.1f}" if all(sizes) else ""
