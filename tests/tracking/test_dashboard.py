"""`dashboard`: the workspace it hands to W&B's own package, and what it says without."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest
import wandb

from gan3d_bench.commands import dashboard


class Part:
    """Any class of `wandb-workspaces`: remembers how it was made."""

    def __init__(self, *values: Any, **settings: Any) -> None:
        self.values = values
        self.__dict__.update(settings)


class Workspace(Part):
    saved: list[Workspace] = []  # noqa: RUF012
    url = "https://example.org/me/p?nw=1"

    def save(self) -> None:
        self.saved.append(self)


@pytest.fixture
def package(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Workspace]]:
    """Stands in for `wandb-workspaces`, and for a login."""
    root, reports = ModuleType("wandb_workspaces"), ModuleType("wandb_workspaces.reports")
    panels, ws = (
        ModuleType("wandb_workspaces.reports.v2"),
        ModuleType("wandb_workspaces.workspaces"),
    )
    for name in ("BarPlot", "Layout", "MediaBrowser", "SummaryMetric", "WeavePanelSummaryTable"):
        setattr(panels, name, type(name, (Part,), {}))
    for name in ("Metric", "RunsetSettings", "Section", "WorkspaceSettings"):
        setattr(ws, name, type(name, (Part,), {}))
    ws.Workspace = Workspace  # type: ignore[attr-defined]
    reports.v2, root.reports, root.workspaces = panels, reports, ws  # type: ignore[attr-defined]
    for module in (root, reports, panels, ws):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(dashboard, "find_spec", lambda name: root)
    monkeypatch.setattr("gan3d_bench.tracking.loggers.wandb_mode", lambda: "online")
    monkeypatch.setattr(wandb, "Api", lambda: Part(default_entity="me"))
    Workspace.saved = []
    yield Workspace.saved


def test_one_section_a_table_and_one_of_pictures(
    cli: Callable[..., Any], package: list[Workspace]
) -> None:
    shown = cli("dashboard", "--project", "p")
    assert (shown.code, shown.out) == (0, f"{Workspace.url}\n"), shown.err
    (made,) = package
    assert (made.entity, made.project) == ("me", "p")
    sections = {section.name: section.panels for section in made.sections}
    whole, bars = sections["Table toy-depth"]
    assert whole.table_name == "table/toy-depth"
    # the keys that runs log; W&B draws no bar for what no run has
    assert [metric.values for metric in bars.metrics] == [
        ("table/toy-depth/depth-one/error",),
        ("table/toy-depth/toy/error",),
    ]
    assert "Table shape" in sections and "Table annotation" not in sections
    keys = {key for panel in sections["Pictures"] for key in panel.media_keys}
    assert keys == {"preview/scene", "preview/turntable", "preview/mesh"}
    assert [metric.values for metric in made.runset_settings.groupby] == [("Group",)]
    assert made.settings.x_axis == "trainer/global_step"


def test_another_team(cli: Callable[..., Any], package: list[Workspace]) -> None:
    assert cli("dashboard", "--entity", "team").code == 0
    assert (package[0].entity, package[0].project) == ("team", "gan3d-bench")


@pytest.mark.parametrize(
    ("installed", "mode", "missing"),
    [
        (True, "offline", "missing: a W&B login (wandb login)"),
        (False, "online", "missing: package wandb-workspaces (pip install 'gan3d-bench[wandb]')"),
        (False, "disabled", "'gan3d-bench[wandb]'); a W&B login (wandb login)"),
    ],
)
def test_says_what_it_would_do(
    cli: Callable[..., Any],
    package: list[Workspace],
    monkeypatch: pytest.MonkeyPatch,
    installed: bool,
    mode: str,
    missing: str,
) -> None:
    monkeypatch.setattr(dashboard, "find_spec", lambda name: installed or None)
    monkeypatch.setattr("gan3d_bench.tracking.loggers.wandb_mode", lambda: mode)
    shown = cli("dashboard", "--project", "p")
    assert shown.code == 2 and not shown.out and not package
    (line,) = shown.err.strip().splitlines()
    assert "would make a workspace in W&B project 'p'" in line and "toy-depth" in line
    assert missing in line


def test_a_server_that_does_not_answer_is_one_line(
    cli: Callable[..., Any], package: list[Workspace], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Workspace) -> None:
        raise wandb.errors.CommError("timed out\nsecond line")

    monkeypatch.setattr(Workspace, "save", refuse)
    shown = cli("dashboard")
    assert shown.code == 2
    assert shown.err.strip().endswith("W&B made no workspace in 'gan3d-bench': timed out")


def test_a_login_without_a_team(
    cli: Callable[..., Any], package: list[Workspace], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wandb, "Api", lambda: Part(default_entity=None))
    shown = cli("dashboard")
    assert shown.code == 2 and "expected --entity" in shown.err
