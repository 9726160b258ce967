"""``gan3d-bench import`` and ``export``: official checkpoints to our files and back."""

from __future__ import annotations

import json
import os
import shlex
import shutil
from pathlib import Path
from typing import Any

from gan3d_bench.errors import UserError, unknown_name
from gan3d_bench.spec import load
from gan3d_bench.tracking.files import explaining, replacing, require_folder

IMPORTERS = {"stylegan2": "gan3d_bench.generators.stylegan2.transfer:import_file"}
"""``--as NAME`` -> import path of ``import_file(source, folder)``, which writes the networks to an
empty folder and returns facts for the card."""

LICENCE = (
    "the weights keep the licence that their authors gave them; importing changes nothing in it. "
    "Networks released by NVIDIA are for non-commercial use."
)


def import_checkpoint(source: Path, family: str, out: Path | None) -> int:
    """Import the official checkpoint `source` as a teacher's folder; return the exit code.

    Args:
        source: the file; nothing in it is run.
        family: one of `IMPORTERS`.
        out: the folder; by default the file's name without its suffix, beside it. It must not
            exist, or be empty.

    Raises:
        UserError: unknown family; missing, damaged, hostile or foreign file; a folder in use.
    """
    if family not in IMPORTERS:
        raise unknown_name("--as", family, IMPORTERS)
    if not _is_file(source):
        raise UserError(f"{source}: no such file; expected an official checkpoint")
    folder = out or source.with_suffix("")
    require_folder("--out", folder)
    if folder.exists() and any(folder.iterdir()):
        raise UserError(f"--out {folder}: expected a new or empty folder, nothing is overwritten")
    partial = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    try:
        try:
            facts = load(IMPORTERS[family])(source, partial)
        except UserError as error:
            raise UserError(f"{source}: {error}") from error
        card = _card(source, family, folder, facts)
        with explaining(folder):
            (partial / "card.json").write_text(json.dumps(card, indent=1) + "\n")
            os.replace(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    _summarise(card, folder)
    return 0


def export_checkpoint(folder: Path, target: Path) -> int:
    """Write the StyleGAN2 networks of `folder` to `target`, a new ``.pt`` of rosinality's format.

    Raises:
        UserError: no networks in `folder`, a file in the way, or one that cannot be written.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: expected a folder with generator.safetensors")
    if target.exists():
        raise UserError(f"{target}: expected a new file, nothing is overwritten")
    require_folder("FILE", target.parent)

    import torch

    from gan3d_bench.generators.stylegan2.transfer import export_folder

    content, notes = export_folder(folder)
    with explaining(target), replacing(target) as partial:
        try:
            torch.save(content, partial)
        except RuntimeError as error:  # what torch makes of a full disk
            raise OSError(str(error)) from error
    print(f"written: {target}")
    for note in notes:
        print(f"note:    {note}")
    return 0


def _card(source: Path, family: str, folder: Path, facts: dict[str, Any]) -> dict[str, Any]:
    from gan3d_bench.assets.manifest import sha256_of

    return {
        "name": folder.name,
        "family": family,
        "source": {"file": source.name, "sha256": sha256_of(source)},
        **facts,
        "licence": LICENCE,
    }


def _summarise(card: dict[str, Any], folder: Path) -> None:
    numbers = ", ".join(
        f"{network} of {count:,} parameters" if count else f"no {network}"
        for network, count in card["parameters"].items()
    )
    size = card["image_size"]
    print(f"imported: {card['source']['file']} ({card['source']['sha256'][:12]})")
    print(f"holds:    {card['family']} of {card['origin']}, {size} x {size} pixels")
    print(f"weights:  {numbers}; mean of w {card['w_mean']}")
    print(f"licence:  {card['licence']}")
    print(f"written:  {folder}")
    teacher = shlex.quote(f"teacher={folder}")
    print(f"next:     gan3d-bench fit --method gan2shape --preset PRESET {teacher}")
    print("          (presets: gan3d-bench list presets)")


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # too long for the file system, or with a null byte
        return False
