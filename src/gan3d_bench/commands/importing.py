"""``gan3d-bench import`` and ``export``: official checkpoints to our files and back."""

from __future__ import annotations

import json
import os
import shlex
import shutil
from pathlib import Path
from typing import Any, Literal

from typer.core import TyperCommand

from gan3d_bench.errors import UserError, unknown_name
from gan3d_bench.files.atomic import atomic_write, require_folder, require_name, write_errors
from gan3d_bench.registry import registry
from gan3d_bench.spec import GeneratorSpec, Importer, MethodSpec, load
from gan3d_bench.terminal import say

Part = Literal["importer", "exporter"]
Spec = GeneratorSpec | MethodSpec
KINDS = ("generators", "methods")

LICENCE = (
    "the weights keep the licence that their authors gave them; importing changes nothing in it. "
    "Networks released by NVIDIA are for non-commercial use."
)


def known(part: Part) -> dict[str, Spec]:
    """Return the generators and methods with an importer or exporter, by name.

    Of a generator and a method of one name that both have one, the generator's counts.
    """
    specs = [spec for kind in reversed(KINDS) for spec in registry(kind).specs.values()]
    return {spec.name: spec for spec in specs if getattr(spec, part)}


def _found(part: Part, name: str) -> Any:
    specs = known(part)
    if name not in specs:
        for kind in KINDS:
            if name in registry(kind).broken:
                registry(kind).get(name)  # says why it could not be loaded
        raise unknown_name("--as", name, specs)
    return specs[name]


class ImportCommand(TyperCommand):
    """A command whose help ends with the names that ``--as`` takes, plug-ins' among them."""

    part: Part = "importer"

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        rows = [(name, getattr(spec, self.part).files) for name, spec in known(self.part).items()]
        with formatter.section("Names for --as"):
            formatter.write_dl(sorted(rows))


class ExportCommand(ImportCommand):
    part = "exporter"


def import_checkpoint(source: Path, family: str, out: Path | None) -> int:
    """Import the official checkpoint `source` as a folder of ours; return the exit code.

    Args:
        source: the file; nothing in it is run.
        family: name of a generator or method with an importer.
        out: the folder; by default the file's name without its suffix, beside it. It must not
            exist, or be empty.

    Raises:
        UserError: unknown family; missing, damaged, hostile or foreign file; a folder in use.
    """
    importer = _found("importer", family).importer
    if not _is_file(source):
        raise UserError(f"{source}: no such file; expected an official checkpoint")
    folder = out or source.with_suffix("")
    require_folder("--out", folder)
    if folder.exists() and any(folder.iterdir()):
        raise UserError(f"--out {folder}: expected a new or empty folder, nothing is overwritten")
    partial = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    try:
        try:
            facts = load(importer.function)(source, partial)
        except UserError as error:
            raise UserError(f"{source}: {error}") from error
        card = _card(source, family, folder, facts)
        with write_errors(folder):
            (partial / "card.json").write_text(json.dumps(card, indent=1) + "\n")
            os.replace(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    _summarise(card, folder, importer)
    return 0


def export_checkpoint(folder: Path, target: Path, family: str) -> int:
    """Write the networks of `folder` to `target`, a new file in an official format.

    Args:
        folder: what `import_checkpoint` made, or another with the same files.
        target: the file.
        family: name of a generator or method with an exporter.

    Raises:
        UserError: unknown family, no networks in `folder`, a file in the way, or one that cannot be
            written.
    """
    exporter = _found("exporter", family).exporter
    require_name("FILE", target)
    if not os.path.isdir(folder):  # False for impossible names, too
        raise UserError(f"{folder}: expected a folder with {exporter.needs}")
    if target.exists():
        raise UserError(f"{target}: expected a new file, nothing is overwritten")
    require_folder("FILE", target.parent)

    import torch

    content, notes = load(exporter.function)(folder)
    with write_errors(target), atomic_write(target) as partial:
        try:
            torch.save(content, partial)
        except RuntimeError as error:  # what torch makes of a full disk
            raise OSError(str(error)) from error
    say(f"written: {target}")
    for note in notes:
        say(f"note:    {note}")
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


def _summarise(card: dict[str, Any], folder: Path, importer: Importer) -> None:
    numbers = ", ".join(
        f"{network} of {count:,} parameters" if count else f"no {network}"
        for network, count in card["parameters"].items()
    )
    size, w_mean = card.get("image_size"), card.get("w_mean")
    say(f"imported: {card['source']['file']} ({card['source']['sha256'][:12]})")
    pixels = f", {size} x {size} pixels" if size else ""
    say(f"holds:    {card['family']} of {card['origin']}{pixels}")
    say(f"weights:  {numbers}{f'; mean of w {w_mean}' if w_mean else ''}")
    for note in card.get("notes", ()):
        say(f"note:     {note}")
    say(f"licence:  {card['licence']}")
    say(f"written:  {folder}")
    if not importer.method:
        return
    setting = shlex.quote(importer.setting.format(folder=folder))
    say(f"next:     gan3d-bench fit --method {importer.method} --preset PRESET {setting}")
    say("          (presets: gan3d-bench list presets)")


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # too long for the file system, or with a null byte
        return False
