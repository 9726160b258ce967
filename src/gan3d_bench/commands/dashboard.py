"""``gan3d-bench dashboard``."""

from __future__ import annotations

from importlib.util import find_spec

from gan3d_bench.errors import UserError
from gan3d_bench.registry import registry
from gan3d_bench.terminal import say


def dashboard(project: str, entity: str = "") -> int:
    """Make the workspace that compares runs in W&B, and print its address.

    Raises:
        UserError: not logged in, `wandb-workspaces` not installed, or W&B does not answer; says
            what would have been made.
    """
    tables = [spec for spec in registry("tables").specs.values() if spec.measure]
    missing = _missing()
    if missing:
        raise UserError(
            f"dashboard: would make a workspace in W&B project '{project}' with "
            f"{len(tables)} tables ({', '.join(table.name for table in tables)}), pictures, "
            f"turntables, meshes and curves of all runs; missing: {'; '.join(missing)}"
        )
    import wandb
    from wandb.errors import Error

    from gan3d_bench.report.wandb_workspace import build

    try:
        owner = entity or wandb.Api().default_entity
        if not owner:
            raise UserError("dashboard: your W&B login has no default entity; expected --entity")
        workspace = build(owner, project, tables)
        workspace.save()
    except (Error, OSError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise UserError(f"dashboard: W&B made no workspace in '{project}': {reason}") from error
    say(workspace.url)
    return 0


def _missing() -> list[str]:
    """Return what there must be to make a workspace and is not, with how to get it."""
    from gan3d_bench.tracking.loggers import wandb_mode

    missing = []
    if find_spec("wandb_workspaces") is None:
        missing.append("package wandb-workspaces (pip install 'gan3d-bench[wandb]')")
    if wandb_mode() != "online":
        missing.append("a W&B login (wandb login), with WANDB_MODE not offline or disabled")
    return missing
