"""``gan3d-bench import`` and ``export``: official checkpoints to our files and back."""

from __future__ import annotations

import json
import os
import shlex
import shutil
from pathlib import Path
from typing import Any

from gan3d_bench.errors import UserError, unknown_name
from gan3d_bench.files.atomic import atomic_write, require_folder, write_errors
from gan3d_bench.spec import load

IMPORTERS = {
    "stylegan2": "gan3d_bench.generators.stylegan2.transfer:import_file",
    "liftedgan": "gan3d_bench.methods.liftedgan.checkpoint:import_file",
    "idnet": "gan3d_bench.faces.identity_files:import_file",
}
"""``--as NAME`` -> import path of ``import_file(source, folder)``, which writes the networks to an
empty folder and returns facts for the card."""

EXPORTERS = {
    "stylegan2": (
        "generator.safetensors",
        "gan3d_bench.generators.stylegan2.transfer:export_folder",
    ),
    "liftedgan": (
        "networks.safetensors",
        "gan3d_bench.methods.liftedgan.checkpoint:export_folder",
    ),
}
"""``--as NAME`` -> file that the folder must have, and import path of ``export_folder(folder)``,
which returns the content of an official checkpoint and notes for the user."""

NEXT = {
    "stylegan2": ("gan2shape", "teacher"),
    "liftedgan": ("liftedgan", "start"),
    "idnet": ("liftedgan", "identity"),
}
"""``--as NAME`` -> a method that takes the folder, and the key of its config."""

LICENCE = (
    "the weights keep the licence that their authors gave them; importing changes nothing in it. "
    "Networks released by NVIDIA are for non-commercial use."
)


def import_checkpoint(source: Path, family: str, out: Path | None) -> int:
    """Import the official checkpoint `source` as a folder of ours; return the exit code.

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
        with write_errors(folder):
            (partial / "card.json").write_text(json.dumps(card, indent=1) + "\n")
            os.replace(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    _summarise(card, folder)
    return 0


def export_checkpoint(folder: Path, target: Path, family: str) -> int:
    """Write the networks of `folder` to `target`, a new file in an official format.

    Args:
        folder: what `import_checkpoint` made, or another with the same files.
        target: the file.
        family: one of `EXPORTERS`.

    Raises:
        UserError: unknown family, no networks in `folder`, a file in the way, or one that cannot be
            written.
    """
    if family not in EXPORTERS:
        raise unknown_name("--as", family, EXPORTERS)
    file, exporter = EXPORTERS[family]
    if not folder.is_dir():
        raise UserError(f"{folder}: expected a folder with {file}")
    if target.exists():
        raise UserError(f"{target}: expected a new file, nothing is overwritten")
    require_folder("FILE", target.parent)

    import torch

    content, notes = load(exporter)(folder)
    with write_errors(target), atomic_write(target) as partial:
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
    size, w_mean = card["image_size"], card.get("w_mean")
    print(f"imported: {card['source']['file']} ({card['source']['sha256'][:12]})")
    print(f"holds:    {card['family']} of {card['origin']}, {size} x {size} pixels")
    print(f"weights:  {numbers}{f'; mean of w {w_mean}' if w_mean else ''}")
    print(f"licence:  {card['licence']}")
    print(f"written:  {folder}")
    method, key = NEXT[card["family"]]
    setting = shlex.quote(f"{key}={folder}")
    print(f"next:     gan3d-bench fit --method {method} --preset PRESET {setting}")
    print("          (presets: gan3d-bench list presets)")


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # too long for the file system, or with a null byte
        return False
