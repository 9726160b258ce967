"""The workspace that compares runs in W&B, through W&B's own package `wandb-workspaces`.

Imports neither that package nor W&B until it is built.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from gan3d_bench.spec import TableSpec

NAME = "Methods compared"
# what previews of every method have, as far as their scenes go
PICTURES = ("scene", "turntable", "mesh")


def run_rows(table: TableSpec) -> list[str]:
    """Return the rows of a table that runs may fill: all but those of other papers."""
    reported = {number.row for number in table.reported}
    return [row for row in table.rows if row not in reported]


def build(entity: str, project: str, tables: Iterable[TableSpec]) -> Any:
    """Build the workspace, unsaved: a `wandb_workspaces.workspaces.Workspace`.

    One section a table (the table itself and, for each metric, bars by row), one of pictures,
    turntables and meshes side by side, and whatever else was logged, by its prefix. Runs are
    grouped as they were logged: by method and preset.

    Args:
        entity: W&B user or team.
        project: W&B project.
        tables: those to show.
    """
    import wandb_workspaces.reports.v2 as panels  # type: ignore[import-not-found]
    import wandb_workspaces.workspaces as ws  # type: ignore[import-not-found]

    from gan3d_bench.report.wandb_tables import table_key
    from gan3d_bench.tracking.loggers import GLOBAL_STEP

    sections = []
    for table in tables:
        whole = panels.WeavePanelSummaryTable(
            table_name=table_key(table.name), layout=panels.Layout(w=24, h=12)
        )
        bars = [
            panels.BarPlot(
                title=f"{column.heading} {column.unit}".strip(),
                metrics=[
                    panels.SummaryMetric(table_key(table.name, row, column.metric))
                    for row in run_rows(table)
                ],
            )
            for column in table.columns
        ]
        sections.append(ws.Section(name=f"Table {table.name}", panels=[whole, *bars], is_open=True))
    shown = [
        panels.MediaBrowser(
            title=name, media_keys=[f"preview/{name}"], grid_x_axis="run", grid_y_axis="index"
        )
        for name in PICTURES
    ]
    sections.append(ws.Section(name="Pictures", panels=shown, is_open=True))
    return ws.Workspace(
        entity=entity,
        project=project,
        name=NAME,
        sections=sections,
        settings=ws.WorkspaceSettings(x_axis=GLOBAL_STEP, group_by_prefix="first"),
        runset_settings=ws.RunsetSettings(groupby=[ws.Metric("Group")]),
        auto_generate_panels=True,
    )
